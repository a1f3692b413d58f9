"""Cost of a picture from shard to batch, compared with bare decoding of the same bytes.

    python benchmarks/loader.py --json
    python benchmarks/loader.py --source ../shared/grocery --json

Bare: Pillow alone opens, decodes and resizes the central square. Streamed: the whole loader, from row groups of Parquet
shards through preprocessing to a batch. Both process the same rows in the order of an epoch, batch by batch in turn, in
one thread; the ratio is the median over the batches. Mapped: the same batches from the decoded cache. Rates are per
second of processor time, so that other work on the machine has little effect; the files are in the page cache. Without
--source, JPEGs of 640 x 480 are generated.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from lib.jpegs import photographs, write_version
from lib.machine import facts
from PIL import Image

from entityclip.data.image_cache import SplitImages, open_pictures
from entityclip.data.image_stream import Streamed
from entityclip.data.preprocessing import Preprocessing
from entityclip.paths import DataLayout, DecodedLayout, Layout


def bare(data: bytes, *, side: int) -> Image.Image:
    """The central square, by Pillow alone."""
    image = Image.open(io.BytesIO(data))
    image.load()
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def bare_batch(files: list[bytes], rows: np.ndarray, *, side: int) -> list[Image.Image]:
    """The pictures of these rows, decoded and resized."""
    return [bare(files[row], side=side) for row in rows]


def streamed_and_bare(data: DataLayout, files: list[bytes], *, side: int, batch: int) -> dict[str, Any]:
    """One epoch in batches, each read in both ways."""
    streamed, costs = Streamed(data, split="train", preprocessing=Preprocessing(size=side)), []
    for rows in in_batches(streamed, batch):
        there = seconds(partial(bare_batch, files, rows, side=side))
        costs.append((there, seconds(partial(streamed.read, rows))))
    alone, whole = np.array(costs).T
    return {
        "streamed_over_bare": round(float(np.median(alone / whole)), 3),
        "pictures_per_s_per_core": round(batch / float(np.median(whole)), 1),
        "bare_pictures_per_s_per_core": round(batch / float(np.median(alone)), 1),
        "row_groups": len(streamed.groups.places),
        "row_groups_read": streamed.groups_read,
    }


def mapped(data: DataLayout, cache: DecodedLayout, *, side: int, batch: int) -> dict[str, Any]:
    """The cache: to make, to open, to read."""

    def opened() -> SplitImages:
        how = Preprocessing(size=side)
        return open_pictures(data, split="train", preprocessing=how, cache=cache, most_bytes=2**40, progress=False)

    making, opening, pictures = seconds(opened), seconds(opened), opened()
    costs = [seconds(partial(pictures.read, rows)) for rows in in_batches(pictures, batch)]
    return {
        "mapped_pictures_per_s": round(batch / float(np.median(costs)), 1),
        "cache_made_at_pictures_per_s": round(len(pictures) / making, 1),
        "cache_opened_in_s": round(opening, 4),
    }


def in_batches(pictures: SplitImages, batch: int) -> list[np.ndarray]:
    """The first epoch's rows, whole batches only."""
    rng = np.random.default_rng(0)
    rows = pictures.arrange(rng.permutation(len(pictures)), rng=rng)
    return np.split(rows[: len(rows) // batch * batch], max(1, len(rows) // batch))


def main(
    source: Annotated[Path | None, typer.Option(help="A folder of JPEG files, in subfolders or not.")] = None,
    pictures: Annotated[int, typer.Option(min=64, help="How many.")] = 2400,
    side: Annotated[int, typer.Option(min=8, help="Of the squares, pixels.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a batch.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Time the loader against bare decoding and print one JSON object, last."""
    torch.set_num_threads(1)
    found = sorted(source.rglob("*.jpg")) if source else []
    distinct = [path.read_bytes() for path in found[:: max(1, len(found) // pictures)]] or list(
        photographs(300, width=640, height=480)
    )
    files = [distinct[i % len(distinct)] for i in range(pictures)]
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        write_version(layout.staging, files)
        answer = streamed_and_bare(layout.staging, files, side=side, batch=batch)
        answer |= mapped(layout.staging, layout.decoded, side=side, batch=batch)
    if not as_json:
        for name, value in answer.items():
            print(f"{name:32} {value}")
    size = round(sum(map(len, files)) / len(files))
    about = {"pictures": pictures, "mean_bytes": size, "side": side, "batch": batch}
    print(json.dumps(answer | about | facts()))


if __name__ == "__main__":
    typer.run(main)
