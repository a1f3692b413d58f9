"""Which copies of a picture ingest finds, which pictures it takes for copies wrongly, and how long that takes.

    python benchmarks/near_duplicates.py --source ../shared/grocery/train --json

Pictures are those of the drawn catalogue and, with ``--source``, photographs in a folder, one subfolder a product. A
third is re-encoded (JPEG, quality 40 to 80), a third resized to 0.3 to 0.8 of its side, a third cropped to 80 to 95 %
of its area anywhere; resized and cropped ones are re-encoded as well.

- ``found``: share of the copies that end in the group of their original; the least over all sets.
- ``false_pairs``: share of the originals that look like an original of another product; the most over all sets. Of one
  product it may be a picture of the same series: ``same_product``.
- ``found_look_alike``: ``found`` of a thousand plain drawings on white that differ in a label, each of its own product.
  All look like others by construction, so that they do not count in ``false_pairs``.
- ``found_among_100k``: ``found`` once more, with 100,000 pictures to search: all sets with their copies, and other
  pictures, made by turning them and exchanging their colours.
- ``seconds_per_100k``: to find the groups of these 100,000, measured, and to shrink as many decoded pictures,
  extrapolated from those of the sets. ``cpu_seconds_per_100k`` is the time of the processors for it, which other work
  on the machine hardly lengthens. Reading and decoding are not part of it: an ingest does both anyway.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from lib.machine import facts, peak_gib
from PIL import Image, ImageDraw

from entityclip.data import pairs
from entityclip.data.image_near_duplicates import connected, near_duplicate_pairs, thumbnail
from entityclip.data.images import decode
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.paths import Layout

MANY = 100_000
TIMES = ("seconds_per_100k", "cpu_seconds_per_100k")
Pictures = list[tuple[str, Image.Image]]
"""Product and picture."""


def drawn(layout: Layout, *, products: int) -> Pictures:
    """The pictures of the catalogue without faults."""
    source = CatalogSource(layout.drawn, faults=False, products=products, progress=False)
    ingest(source, staging=layout.staging, rejected=layout.rejected("catalog"), progress=False)
    rows = pairs.iter_rows(layout.staging.pairs, columns=["entity_id", "image"])
    return [(row["entity_id"], decode(row["image"]["bytes"])) for row in rows]


def plain() -> Pictures:
    """One bottle on white a thousand times, with another label and number: products that look alike."""
    rng, found = np.random.default_rng(1), []
    for number in range(1000):
        image = Image.new("RGB", (200, 200), "white")
        draw = ImageDraw.Draw(image)
        draw.rectangle((70, 60, 130, 180), fill="#3c783c")
        draw.rectangle((88, 20, 112, 60), fill="#3c783c")
        draw.rectangle((75, 95, 125, 145), fill=tuple(rng.integers(0, 256, 3).tolist()))
        draw.text((80, 110), f"No {number}", fill="black")
        found.append((f"bottle {number}", image))
    return found


def photographs(folder: Path) -> Pictures:
    """The pictures below a folder, with the name of their own folder."""
    return [(path.parent.name, decode(path.read_bytes())) for path in sorted(folder.rglob("*.jpg"))]


# ---------------------------------------------------------------- copies
def reencoded(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As another JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(40, 81)))
    return decode(file.getvalue())


def resized(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Smaller, and re-encoded."""
    share = rng.uniform(0.3, 0.8)
    return reencoded(picture.resize([max(8, round(share * side)) for side in picture.size]), rng)


def cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A part of it, and re-encoded."""
    share = rng.uniform(0.8, 0.95) ** 0.5
    width, height = (round(share * side) for side in picture.size)
    left, top = rng.integers(0, picture.width - width + 1), rng.integers(0, picture.height - height + 1)
    return reencoded(picture.crop((left, top, left + width, top + height)), rng)


COPIES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "reencoded": reencoded,
    "resized": resized,
    "cropped": cropped,
}


# ---------------------------------------------------------------- figures
class Sample(NamedTuple):
    """Thumbnails of one set of pictures, of a copy of each, what they show, and the figures about them."""

    originals: np.ndarray
    copies: np.ndarray
    products: np.ndarray
    figures: dict[str, Any]


def measured(pictures: Pictures, rng: np.random.Generator) -> Sample:
    """One set of pictures."""
    started, busy = time.monotonic(), time.process_time()
    originals = np.stack([thumbnail(picture) for _, picture in pictures])
    taken = (time.monotonic() - started, time.process_time() - busy)
    kinds = np.arange(len(pictures)) % len(COPIES)
    made = [list(COPIES.values())[kind](picture, rng) for kind, (_, picture) in zip(kinds, pictures, strict=True)]
    copies = np.stack([thumbnail(copy) for copy in made])
    products = np.unique([product for product, _ in pictures], return_inverse=True)[1]
    found = found_of(np.concatenate([originals, copies]), np.tile(products, 2), len(pictures))
    first, second = near_duplicate_pairs(originals, products)
    same = products[first] == products[second]
    figures = {
        "pictures": len(pictures),
        "found": round(float(found.mean()), 4),
        **{f"found_{name}": round(float(found[kinds == i].mean()), 4) for i, name in enumerate(COPIES)},
        "false_pairs": round(len({*first[~same], *second[~same]}) / len(pictures), 4),
        "same_product": round(len({*first[same], *second[same]}) / len(pictures), 4),
        **{f"thumbnail_{name}": round(t / len(pictures) * MANY, 1) for name, t in zip(TIMES, taken, strict=True)},
    }
    return Sample(originals, copies, products, figures)


def found_of(thumbnails: np.ndarray, products: np.ndarray, count: int) -> np.ndarray:
    """(count,) whether the next ``count`` thumbnails are in the groups of the first; no group has two products."""
    first, second = near_duplicate_pairs(thumbnails, products)
    same = products[first] == products[second]
    labels = connected(first[same], second[same], len(thumbnails))
    return labels[:count] == labels[count : 2 * count]


def among_many(samples: list[Sample]) -> dict[str, float]:
    """``found`` among ``MANY`` pictures, and the time that takes."""
    originals, copies = (np.concatenate([getattr(s, part) for s in samples]) for part in ("originals", "copies"))
    products = np.concatenate([sample.products + 10**5 * n for n, sample in enumerate(samples)])
    turned = [
        np.rot90(originals, turn, axes=(1, 2))[..., colours] for colours in permutations(range(3)) for turn in range(4)
    ]
    others = [*turned[1:], *(part[:, ::-1] for part in turned)]
    many = np.ascontiguousarray(np.concatenate([originals, copies, *others])[:MANY])
    shown = np.concatenate([products, products, *(products + 10**6 * (n + 1) for n in range(len(others)))])[:MANY]
    started, busy = time.monotonic(), time.process_time()
    found = found_of(many, shown, len(originals))
    taken = (time.monotonic() - started, time.process_time() - busy)
    shrunk = [max(s.figures[f"thumbnail_{name}"] for s in samples) for name in TIMES]
    seconds = [group * MANY / len(many) + thumbnails for group, thumbnails in zip(taken, shrunk, strict=True)]
    return {
        "found_among_100k": round(float(found.mean()), 4),
        "searched": len(many),
        **{name: round(s, 1) for name, s in zip(TIMES, seconds, strict=True)},
    }


def main(
    to: Annotated[Path, typer.Option(help="Where the catalogue is drawn.")] = Path("build/near-duplicates"),
    source: Annotated[Path | None, typer.Option(help="Folder of photographs, a subfolder a product.")] = None,
    products: Annotated[int, typer.Option(help="Products to draw.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Copy pictures, look for the copies alone and among 100,000; print one JSON object last."""
    rng = np.random.default_rng(0)
    samples: dict[str, Sample] = {}
    for name, pictures in {
        "catalog": drawn(Layout(to), products=products),
        **({"photographs": photographs(source)} if source else {}),
    }.items():
        samples[name] = measured(pictures, rng)
    sets = {name: sample.figures for name, sample in samples.items()}
    look_alike = measured(plain(), rng).figures
    answer: dict[str, Any] = {
        "found": min(figures["found"] for figures in sets.values()),
        "false_pairs": max(figures["false_pairs"] for figures in sets.values()),
        "found_look_alike": look_alike["found"],
        **among_many(list(samples.values())),
    }
    if not as_json:
        for name, figures in (sets | {"plain": look_alike}).items():
            print(name, figures)
    print(json.dumps(answer | sets | {"plain": look_alike} | {"peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
