"""Cost of resuming: an explain stage whose answers are all in the ledger.

    python benchmarks/ledger.py --entities 100000 --json

Each entity has one source text and one caption. The first run stores every answer, one transaction each. The second
run, in a separate process, looks all of them up. ``resume_s`` is its time from the start of the stage to the table of
explanations. ``resume_bytes_each`` is the additional peak memory per entity, compared with a run on a tenth of them.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from lib.machine import facts, peak_gib

from entityclip.data import pairs
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import DataLayout, Layout


class Stage(NamedTuple):
    """One run of the stage."""

    texts: int
    seconds: float
    peak_gib: float


def write_staging(data: DataLayout, *, entities: int) -> None:
    """As many entities with a code, a caption and a text each; no picture, since none is read here."""
    pairs.start(data)
    names = [f"KX-{number:06}B" for number in range(entities)]
    ids = [pairs.entity_id(name) for name in names]
    known = [{"entity_id": i, "entity": name, "language": "en"} for i, name in zip(ids, names, strict=True)]
    captions = ({"entity_id": i, "caption": name} for i, name in zip(ids, names, strict=True))
    texts = (
        {"entity_id": i, "text": f"A red enamel kettle with {n} white dots and a wooden handle.", "language": "en"}
        for n, i in enumerate(ids)
    )
    pairs.write_rows(data.pairs, pairs.PAIRS, captions, name="train")
    pairs.write_rows(data.entities, pairs.ENTITIES, known, name="entities")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, texts, name="source_provided")
    pairs.finish(data)


def stage(root: Path) -> Stage:
    """The explain stage in ``root``."""
    layout, started = Layout(root), time.monotonic()
    texts = explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    return Stage(texts, time.monotonic() - started, peak_gib())


def first_and_again(root: Path, *, entities: int) -> tuple[Stage, Stage]:
    """A run that keeps every answer, and one that finds them; a fresh process each."""
    write_staging(Layout(root).staging, entities=entities)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        first, again = (pool.submit(stage, root).result() for _ in range(2))
    return first, again


def main(
    entities: Annotated[int, typer.Option(min=10, help="Requests whose answers are known.")] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Fill a ledger, go on with it, and print one JSON object, last."""
    few = entities // 10
    with tempfile.TemporaryDirectory() as folder:
        _, small = first_and_again(Path(folder) / "few", entities=few)
        first, again = first_and_again(Path(folder) / "all", entities=entities)
    if not as_json:
        print(f"{first.texts:,} answers kept in {first.seconds:.1f} s, found again in {again.seconds:.1f} s")
    answer = {
        "resume_s": round(again.seconds, 2),
        "first_s": round(first.seconds, 2),
        "resume_peak_gib": again.peak_gib,
        "resume_bytes_each": round((again.peak_gib - small.peak_gib) * 2**30 / (entities - few)),
        "entities": entities,
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
