"""How many faces ``entityclip blur`` finds, by their size, and how many regions it blurs where there is no face.

    python benchmarks/blur.py --faces lfw_subset.npy --pictures ../shared/grocery --json

Each face is pasted into a photograph without people at a random place, as large as stated. ``lfw_subset.npy`` comes
with scikit-image (``skimage/data``): the first 100 of its 200 patches are faces. They look at the camera and were found
by a detector of the same kind, so that the figures are optimistic for faces in general. ``found`` is the share of faces
of which at least half is blurred, in percent; ``false_regions`` is the number of regions per photograph elsewhere.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.machine import facts
from PIL import Image
from tqdm import tqdm

from entityclip.annotation.blur import RegionFinder
from entityclip.annotation.picture_files import picture_files
from entityclip.annotation.regions import Box
from entityclip.data.images import decode
from entityclip.errors import ConfigError


def covered(face: Box, boxes: list[Box]) -> float:
    """Largest share of ``face`` that one of ``boxes`` covers."""
    return max((share(face, box) for box in boxes), default=0.0)


def share(face: Box, box: Box) -> float:
    """Share of ``face`` that lies in ``box``."""
    both = (max(face.left, box.left), max(face.top, box.top), min(face.right, box.right), min(face.bottom, box.bottom))
    return 0.0 if both[2] <= both[0] or both[3] <= both[1] else Box(*both).area / face.area


def main(
    faces: Annotated[Path, typer.Option(help="Array of (N, H, W) grey patches from 0 to 1; the first half are faces.")],
    pictures: Annotated[Path, typer.Option(help="Folder of photographs without people.")],
    sizes: Annotated[str, typer.Option(help="Sides of the faces in pixels, separated by commas.")] = "20,30,50,100",
    seed: Annotated[int, typer.Option(help="Of the places.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Paste each face into a photograph, look for it, print one JSON object, last."""
    patches = np.load(faces, allow_pickle=False)
    people = patches[: len(patches) // 2]
    rng, finder = np.random.default_rng(seed), RegionFinder(("face",))
    files = picture_files(pictures)
    chosen = [files[number] for number in rng.permutation(len(files))]
    usable = [file for file in chosen if file.name.lower().endswith((".jpg", ".png"))][: len(people)]
    if len(usable) < len(people):
        raise ConfigError(f"{pictures}: {len(usable)} pictures; expected {len(people)}, one for each face")
    photographs = [decode(file.read()) for file in usable]
    found: dict[str, float] = {}
    false: list[int] = []
    began, searched = time.monotonic(), 0
    for side in map(int, sizes.split(",")):
        hits = []
        for photograph, person in tqdm(zip(photographs, people, strict=True), f"{side} pixels", disable=as_json):
            left, top = (int(rng.integers(0, length - side)) for length in photograph.size)
            shown, face = photograph.copy(), Box(left, top, left + side, top + side)
            shown.paste(Image.fromarray((255 * person).astype(np.uint8)).resize((side, side)), face[:2])
            boxes = [region.box for region in finder(shown, file="shown")]
            hits.append(covered(face, boxes) >= 0.5)
            false.append(sum(share(face, box) == 0 for box in boxes))
            searched += 1
        found[str(side)] = round(100 * float(np.mean(hits)), 1)
    answer: dict[str, Any] = {"found": found, "false_regions": round(float(np.mean(false)), 2), "faces": len(people)}
    answer |= {"seconds_per_picture": round((time.monotonic() - began) / searched, 3)}
    answer |= {"picture_size": list(photographs[0].size)}
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
