"""A run that is killed at any moment loses no answer that the ledger had, and buys none twice."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entityclip.data import pairs
from entityclip.explanations import Ledger, explain, open_writer, writer_config
from entityclip.paths import DataLayout

ENTITIES, KILLS, AT_ONCE = 150, 20, 4


@pytest.fixture
def port() -> Iterator[int]:
    """The hostile server, well-behaved, in a process of its own."""
    server = subprocess.Popen([sys.executable, Path(__file__).parent / "hostile.py"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield int(server.stdout.readline())
    server.kill()
    server.communicate()


@pytest.fixture
def staging(tmp_path: Path) -> DataLayout:
    data = DataLayout(tmp_path / "staging")
    pairs.start(data)
    names = [f"やかん {i}" for i in range(ENTITIES)]
    rows = [{"entity_id": pairs.entity_id(n), "entity": n, "language": "ja", "caption": "japanese"} for n in names]
    pairs.write_rows(data.pairs, pairs.PAIRS, (r | {"entity": None, "language": None} for r in rows), name="train")
    entities = ({name: row[name] for name in ("entity_id", "entity", "language")} for row in rows)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, iter(()), name="source_provided")
    pairs.finish(data)
    return data


def counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as response:
        return json.load(response)


def known(ledger: Path) -> set[str]:
    with Ledger(ledger) as book:
        return {entity for (entity,) in book._db.execute("SELECT entity FROM answers")}


def run(staging: Path, ledger: Path, port: int) -> int:
    """One run of the stage, in this process or in a child."""
    settings = {"writer": "openai", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1", "max_concurrency": AT_ONCE}
    writer = open_writer(writer_config(settings, origin="here"), ledger=ledger)
    return explain(DataLayout(staging), writer=writer, ledger=ledger)


@pytest.fixture(scope="module")
def children() -> Any:
    """Makes processes that have imported everything, so that a kill hits the work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["entityclip.explanations.openai_writer", "openai.resources.chat.completions", "pytest"]
    )
    return context


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_buy_nothing_twice(
    staging: DataLayout, tmp_path: Path, port: int, children: Any
) -> None:
    ledger, drawn = tmp_path / "ledger.sqlite", random.Random(5)
    bought: dict[str, int] = {}
    for _ in range(KILLS):
        child = children.Process(target=run, args=(staging.root, ledger, port))
        child.start()
        enough = sum(bought.values()) + drawn.randrange(1, 9)
        while child.is_alive() and sum(counts(port).values()) < enough:
            time.sleep(0.005)
        time.sleep(drawn.uniform(0, 0.02))
        child.kill()
        child.join()
        kept, requested = known(ledger), counts(port)
        assert set(bought) <= kept
        assert all(requested[name] == times for name, times in bought.items())
        bought = {name: requested[name] for name in kept}
    assert 0 < len(bought) < ENTITIES
    assert run(staging.root, ledger, port) == ENTITIES
    requested = counts(port)
    assert all(requested[name] == times for name, times in bought.items())
    assert len(requested) == ENTITIES
    assert sum(requested.values()) <= ENTITIES + KILLS * AT_ONCE


@pytest.mark.slow
def test_two_concurrent_runs_request_everything_once(
    staging: DataLayout, tmp_path: Path, port: int, children: Any
) -> None:
    ledger, other = tmp_path / "ledger.sqlite", DataLayout(tmp_path / "other")
    shutil.copytree(staging.root, other.root)
    child = children.Process(target=run, args=(other.root, ledger, port))
    child.start()
    assert run(staging.root, ledger, port) == ENTITIES
    child.join()
    assert child.exitcode == 0
    assert set(counts(port).values()) == {1}
    assert pairs.read_frame(staging.explanations).equals(pairs.read_frame(other.explanations))
