"""The versioned tables: stable ids, stable bytes, whole series, and readers outside this project."""

from __future__ import annotations

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from entityclip.data import pairs
from entityclip.errors import DataError
from entityclip.paths import DataLayout


def pair(number: int, data: bytes, *, split: str = "train") -> dict[str, object]:
    values = {"pair_id": f"p{number}", "image_sha256": f"s{number}", "caption": "ポンプ", "entity": "A", "split": split}
    empty = dict.fromkeys(("entity_id", "category", "language", "licence", "source"), "")
    image = {"bytes": data, "path": f"{number}.jpg"}
    return values | empty | {"image": image, "width": 24, "height": 16, "explanation": None, "row": number}


def write_pairs(data: DataLayout, rows: list[dict[str, object]]) -> None:
    writer = pairs.PairsWriter(data.pairs)
    for row in rows:
        writer.add(row)
    writer.close()


def test_hugging_face_datasets_reads_the_folder_with_its_pictures(tmp_path, picture_bytes):
    data = DataLayout(tmp_path)
    write_pairs(data, [*(pair(i, picture_bytes(i)) for i in range(3)), pair(3, picture_bytes(3), split="val")])
    found = datasets.load_dataset("parquet", data_dir=str(data.pairs), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in found.items()} == {"train": 3, "validation": 1}
    row = found["train"][2]
    assert isinstance(row["image"], Image.Image)
    assert row["image"].size == (24, 16)
    assert (row["pair_id"], row["caption"], row["explanation"]) == ("p2", "ポンプ", None)


def test_pandas_reads_the_folder(tmp_path, picture_bytes):
    data = DataLayout(tmp_path)
    write_pairs(data, [pair(i, picture_bytes(i)) for i in range(3)])
    frame = pd.read_parquet(data.pairs)
    assert frame["image"][1]["bytes"] == picture_bytes(1)
    assert list(frame["row"]) == [0, 1, 2]


def test_shards_are_cut_by_size_and_read_back_in_order(tmp_path, picture_bytes):
    writer = pairs.ShardWriter(tmp_path, pairs.PAIRS, name="train", shard_bytes=4000)
    for i in range(20):
        writer.add(pair(i, picture_bytes(i)))
    count = writer.close()
    names = [path.name for path in pairs.shards(tmp_path, name="train")]
    assert count == len(names) > 2
    assert names[0] == f"train-00000-of-{count:05d}.parquet"
    assert [row["row"] for row in pairs.iter_rows(tmp_path)] == list(range(20))
    assert list(pairs.read_frame(tmp_path)["row"]) == list(range(20))


def test_the_same_rows_give_the_same_bytes(tmp_path, picture_bytes):
    for name in ("one", "two"):
        write_pairs(DataLayout(tmp_path / name), [pair(i, picture_bytes(i)) for i in range(50)])
    one, two = (pairs.shards(DataLayout(tmp_path / name).pairs)[0].read_bytes() for name in ("one", "two"))
    assert one == two


def test_an_empty_split_reads_as_no_rows_and_an_empty_folder_as_an_error(tmp_path, picture_bytes):
    data = DataLayout(tmp_path)
    write_pairs(data, [pair(0, picture_bytes())])
    assert pairs.shards(data.pairs, name="test") == []
    assert list(pairs.iter_rows(data.pairs, name="test")) == []
    empty, full = pairs.read_frame(data.pairs, name="test"), pairs.read_frame(data.pairs)
    assert list(empty.columns) == list(full.columns)
    assert len(empty) == 0
    with pytest.raises(DataError, match="no Parquet shard"):
        pairs.read_frame(data.entities)


def test_a_missing_shard_is_noticed(tmp_path, picture_bytes):
    writer = pairs.ShardWriter(tmp_path, pairs.PAIRS, name="train", shard_bytes=1)
    for i in range(3):
        writer.add(pair(i, picture_bytes(i)))
    writer.close()
    pairs.shards(tmp_path)[1].unlink()
    with pytest.raises(DataError, match=r"2 of 3 shards train-\* exist"):
        pairs.read_frame(tmp_path)


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b[:4] + b"x" * 99 + b[103:], lambda b: b[:0]])
def test_a_damaged_shard_is_named_with_what_to_do(tmp_path, picture_bytes, spoil):
    pairs.write_rows(tmp_path, pairs.PAIRS, (pair(i, picture_bytes(i)) for i in range(3)), name="train")
    (path,) = pairs.shards(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    for read in (
        lambda: pairs.read_frame(tmp_path, columns=["image"]),
        lambda: list(pairs.iter_rows(tmp_path)),
    ):
        with pytest.raises(DataError, match=rf"{path.name}: damaged .*ingest again"):
            read()


def test_only_a_few_large_pictures_are_decoded_at_a_time(tmp_path):
    rows = (pair(i, bytes(2**20)) for i in range(64))
    pairs.write_rows(tmp_path, pairs.PAIRS, rows, name="train")
    before = pa.total_allocated_bytes()
    reading = pairs.iter_rows(tmp_path)
    next(reading)
    assert pa.total_allocated_bytes() - before < 60 * 2**20
    reading.close()


def test_a_killed_writer_leaves_nothing_that_a_reader_takes(tmp_path, picture_bytes):
    writer = pairs.ShardWriter(tmp_path, pairs.PAIRS, name="train", shard_bytes=1)
    writer.add(pair(0, picture_bytes()))
    with pytest.raises(DataError, match="no Parquet shard"):
        pairs.shards(tmp_path)


def test_data_count_only_once_they_are_complete(tmp_path):
    data = DataLayout(tmp_path / "data")
    pairs.start(data)
    with pytest.raises(DataError, match="half-written"):
        pairs.require_complete(data)
    pairs.finish(data, pairs=3)
    assert pairs.require_complete(data)["pairs"] == 3
    data.marker.write_text('{"schema_version": 0}')
    with pytest.raises(DataError, match="schema version 0, expected"):
        pairs.require_complete(data)


def test_an_entity_has_one_id_whatever_the_width_or_case_of_its_letters():
    assert pairs.entity_id("KX-204B") == pairs.entity_id(" ｋｘ-204b ")
    assert pairs.entity_id("KX-204B") != pairs.entity_id("KX-204")


def test_parts_of_an_id_cannot_run_into_each_other():
    assert pairs.digest("ab", "c") != pairs.digest("a", "bc")


def test_splits_have_about_their_shares_and_never_change():
    drawn = [pairs.split_of(str(i), val=0.1, test=0.2) for i in range(5000)]
    assert 0.08 < drawn.count("val") / 5000 < 0.12
    assert 0.18 < drawn.count("test") / 5000 < 0.22
    assert drawn[:8] == [pairs.split_of(str(i), val=0.1, test=0.2) for i in range(8)]
