"""Rate of bulk annotation against the rate of the model alone, and what a kill does to the result.

    python benchmarks/annotate.py --package DIR/.entityclip/bentoml/models/entityclip-model/v1.0.0 --files 3000 --json

``over_inprocess`` is the rate of ``entityclip annotate`` in this process, from reading the files to the export, divided
by the rate at which the same files are read, decoded on all cores and embedded in batches of 64, and nothing else.
``resume_same_bytes``: another process is killed in the middle of its run and started again; its export has the same
bytes as that of a run without a kill.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.jpegs import jpegs
from lib.machine import facts, peak_gib

from entityclip.annotation import PictureFile, annotate, export, picture_files
from entityclip.annotation.annotate import CHUNK
from entityclip.annotation.records import Records
from entityclip.annotation.tag_files import PredictorTagger
from entityclip.data.images import decode
from entityclip.paths import AnnotationLayout
from entityclip.retrieval.predictor import Predictor


def inprocess(predictor: Predictor, items: list[PictureFile]) -> float:
    """Files a second that are read, decoded and embedded."""
    square = predictor.model.card.preprocessing.square

    def squares() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(items), CHUNK):
                yield from pool.map(lambda item: square(decode(item.read())), items[start : start + CHUNK])

    started = time.perf_counter()
    predictor.model.embed_squares(squares())
    return len(items) / (time.perf_counter() - started)


def annotated(predictor: Predictor, items: list[PictureFile], layout: AnnotationLayout) -> float:
    """Files a second that are annotated and exported."""
    layout.root.mkdir()
    records = Records(layout.records, settings="benchmark")
    started = time.perf_counter()
    annotations, _ = annotate(items, PredictorTagger(predictor), records)
    export(annotations, layout, to="jsonl")
    return len(items) / (time.perf_counter() - started)


def command(package: Path, photos: Path, to: Path) -> list[str]:
    """The command line that annotates ``photos``."""
    start = [sys.executable, "-m", "entityclip", "annotate", str(photos), "--to", str(to), "--format", "jsonl"]
    return [*start, "--package", str(package)]


def killed(package: Path, photos: Path, layout: AnnotationLayout, *, at: int) -> int:
    """Kill the command once it has kept ``at`` files; how many it kept."""
    process = subprocess.Popen(command(package, photos, layout.root), stdout=subprocess.DEVNULL)
    while process.poll() is None and kept(layout) < at:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return kept(layout)


def kept(layout: AnnotationLayout) -> int:
    """Files that have an annotation."""
    if not layout.records.exists():
        return 0
    try:
        with closing(sqlite3.connect(layout.records)) as database:
            return int(database.execute("SELECT count(*) FROM annotations").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0


def main(
    package: Annotated[Path, typer.Option(help="A package: a model with its indexes.")],
    files: Annotated[int, typer.Option(min=2 * CHUNK, help="JPEGs of 348 pixels.")] = 3000,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Annotate, kill and continue; print the figures as one JSON object, last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        for number, file in enumerate(jpegs(files)):
            (folder / "photos" / f"{number:05}.jpg").write_bytes(file)
        items, predictor = picture_files(folder / "photos"), Predictor.load(package)
        inprocess(predictor, items[:CHUNK])  # warm
        alone = inprocess(predictor, items)
        ours = annotated(predictor, items, AnnotationLayout(folder / "ours"))
        whole, again = AnnotationLayout(folder / "whole"), AnnotationLayout(folder / "again")
        subprocess.run(command(package, folder / "photos", whole.root), check=True, stdout=subprocess.DEVNULL)
        at = killed(package, folder / "photos", again, at=files // 3)
        subprocess.run(command(package, folder / "photos", again.root), check=True, stdout=subprocess.DEVNULL)
        answer: dict[str, Any] = {
            "files_per_s": round(ours, 1),
            "inprocess_files_per_s": round(alone, 1),
            "over_inprocess": round(ours / alone, 3),
            "killed_after": at,
            "resume_same_bytes": whole.jsonl.read_bytes() == again.jsonl.read_bytes(),
        }
    if not as_json:
        print(json.dumps(answer, indent=2))
    print(json.dumps(answer | {"files": files, "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
