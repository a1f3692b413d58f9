"""Embedding and explaining over a Dask cluster of real processes, compared with one process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.explanations import explain, open_writer, writer_config
from entityclip.retrieval.index import MapShards, PictureIndex
from entityclip.settings import RunPolicy
from flows.platform.dask_executor import AHEAD, DistributedWriter, distributed_writer, mapper
from tests.explanations.chat_model_files import write_chatty
from tests.tiny import tiny_data, tiny_model

pytest.importorskip("distributed", reason="the extra dask is not installed: pip install -e '.[dask]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def map_shards() -> Iterator[MapShards]:
    with mapper(RunPolicy(dask="local")) as found:
        yield found


def test_pictures_embedded_by_workers_are_the_same_to_the_byte(tmp_path: Path, map_shards: MapShards) -> None:
    model, data = tiny_model(tmp_path / "model"), tiny_data(tmp_path / "data")
    assert len(pairs.shards(data.pairs)) == 3
    here, there = PictureIndex.build(model, data), PictureIndex.build(model, data, map_shards=map_shards)
    assert there.vectors.tobytes() == here.vectors.tobytes()
    assert there.rows.equals(here.rows)


def test_texts_written_by_workers_are_the_same_to_the_byte(
    tmp_path: Path, map_shards: MapShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.platform.dask_executor.BATCHES", 1)  # three parts
    settings = {"writer": "transformers", "model": str(write_chatty(tmp_path / "chatty")), "device_map": "cpu"}
    config = writer_config({**settings, "max_tokens": 64, "batch": 2}, origin="here")
    tables = []
    for name, how in (("here", map), ("there", map_shards)):
        data, ledger = tiny_data(tmp_path / name), tmp_path / f"{name}.sqlite"
        pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, [], name="source_provided")
        writer = distributed_writer(open_writer(config, ledger=ledger), config, ledger=ledger, map_shards=how)
        assert isinstance(writer, DistributedWriter) == (name == "there")
        assert explain(data, writer=writer, ledger=ledger) == 6
        tables.append([path.read_bytes() for path in pairs.shards(data.explanations)])
    assert tables[0] == tables[1]


def test_a_picture_that_a_worker_cannot_read_is_named(tmp_path: Path, map_shards: MapShards) -> None:
    model, data = tiny_model(tmp_path / "model"), tiny_data(tmp_path / "data")
    row = next(pairs.iter_rows(data.pairs, name="val"))
    pairs.write_rows(data.pairs, pairs.PAIRS, [row | {"image": {"bytes": b"no", "path": "x.png"}}], name="val")
    with pytest.raises(DataError, match=f"{row['pair_id']} .x.png"):
        PictureIndex.build(model, data, map_shards=map_shards)


def dies_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def test_a_part_whose_worker_dies_is_done_by_another(tmp_path: Path, map_shards: MapShards) -> None:
    assert list(map_shards(dies_once, [tmp_path / "a", tmp_path / "b"])) == ["a", "b"]


def test_things_are_drawn_as_they_are_needed(map_shards: MapShards) -> None:
    drawn: list[int] = []
    results = iter(map_shards(abs, (drawn.append(i) or -i for i in range(1000))))
    assert [next(results), next(results)] == [0, 1]
    assert len(drawn) <= 1 + AHEAD * 64


def test_an_unreachable_scheduler_and_a_bad_address_are_reported() -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127.0.0.1:9"),
        mapper(RunPolicy(dask="tcp://127.0.0.1:9")),
    ):
        pass
    with pytest.raises(ValidationError, match="dask"):
        RunPolicy(dask="cluster")
