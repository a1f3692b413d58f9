"""Boxes of bulk annotation on pictures of several things: precision and recall of (entity, box at IoU 0.3).

    python benchmarks/shelves.py --package DIR/.entityclip/bentoml/models/entityclip-model/v1.0.0 --data DIR/data --json

Each shelf shows 3 to 6 test pictures of different entities, of different sizes and without overlap, on a plain wall.
``precision``: share of the regions whose entity has its picture there; ``recall``: share of the pictures that a region
of their entity covers. ``whole_recall``: the same for the sure tag of the whole picture, without a place.
``--examples N`` draws some of them with their boxes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.machine import facts
from PIL import Image, ImageDraw

from entityclip.annotation import PictureFile
from entityclip.annotation.regions import Box, box_of, overlap
from entityclip.annotation.tag_files import PredictorTagger
from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.paths import DataLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Annotation

IOU = 0.3
SIZE = (960, 640)
Shown = tuple[str, Box]
"""entity_id of a picture on a shelf, and where it is."""


def shelf(rows: Sequence[dict[str, Any]], random: np.random.Generator) -> tuple[Image.Image, list[Shown]]:
    """A picture of several entities, and where each is."""
    wall = Image.new("RGB", SIZE, tuple(random.integers(150, 240, 3).tolist()))
    shown: list[Shown] = []
    columns, half = 3, SIZE[1] // 2
    cells = random.permutation(2 * columns)[: random.integers(3, 7)]
    for cell, number in zip(cells.tolist(), random.permutation(len(rows)).tolist(), strict=False):
        row = rows[number]
        if row["entity_id"] in {entity for entity, _ in shown}:
            continue
        picture = decode(row["image"]["bytes"])
        side = int(random.integers(140, 300))
        width, height = (round(side * length / max(picture.size)) for length in picture.size)
        left = SIZE[0] // columns * (cell % columns) + int(random.integers(0, SIZE[0] // columns - width + 1))
        top = half * (cell // columns) + int(random.integers(0, half - height + 1))
        wall.paste(picture.resize((width, height)), (left, top))
        shown.append((row["entity_id"], Box(left, top, left + width, top + height)))
    return wall, shown


def boxes_of(annotation: Annotation) -> list[Shown]:
    """What was found, as it is on the shelf."""
    return [(region.entity_id, box_of(region)) for region in annotation.regions or ()]


def hits(found: list[Shown], shown: list[Shown]) -> int:
    """How many of the regions have their entity there; a picture counts once."""
    places = dict(shown)
    good = [(entity, box) for entity, box in found if entity in places and overlap(box, places[entity]) >= IOU]
    return len({entity for entity, _ in good})


def draw(picture: Image.Image, found: list[Shown], shown: list[Shown], path: Path) -> None:
    """The shelf with right boxes in green and wrong ones in red."""
    places, pencil = dict(shown), ImageDraw.Draw(picture)
    for entity, box in found:
        good = entity in places and overlap(box, places[entity]) >= IOU
        pencil.rectangle(box, outline="green" if good else "red", width=4)
    picture.save(path)


def main(
    package: Annotated[Path, typer.Option(help="Package of a release.")],
    data: Annotated[Path, typer.Option(help="Its data; pictures come from the test split.")],
    shelves: Annotated[int, typer.Option(help="Pictures that are annotated.")] = 40,
    seed: Annotated[int, typer.Option(help="Of what is on them.")] = 0,
    examples: Annotated[int, typer.Option(help="Save so many of them, with boxes, as shelf-N.png.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Annotate drawn shelves."""
    random = np.random.default_rng(seed)
    rows = list(pairs.iter_rows(DataLayout(data).pairs, name="test", columns=["entity_id", "image"]))
    tagger = PredictorTagger(Predictor.load(package), regions=True)
    right = found_all = shown_all = whole = 0
    seconds = 0.0
    for number in range(shelves):
        picture, shown = shelf(rows, random)
        with tempfile.TemporaryDirectory() as folder:
            picture.save(Path(folder) / "shelf.png")
            started = time.perf_counter()
            (annotation,) = tagger.annotate([PictureFile("shelf.png", Path(folder))])
            seconds += time.perf_counter() - started
        found = boxes_of(annotation)
        right, found_all, shown_all = right + hits(found, shown), found_all + len(found), shown_all + len(shown)
        whole += annotation.sure is not None and annotation.sure.entity_id in dict(shown)
        if number < examples:
            draw(picture, found, shown, Path(f"shelf-{number}.png"))
    figures = {
        "precision": round(100 * right / max(found_all, 1), 1),
        "recall": round(100 * right / shown_all, 1),
        "whole_recall": round(100 * whole / shown_all, 1),
        "regions_per_picture": round(found_all / shelves, 2),
        "shown_per_picture": round(shown_all / shelves, 2),
        "seconds_per_picture": round(seconds / shelves, 2),
    }
    print("\n".join(f"{name}\t{value}" for name, value in figures.items()))
    if as_json:
        print(json.dumps(figures | {"machine": facts()}))


if __name__ == "__main__":
    typer.run(main)
