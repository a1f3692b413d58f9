"""How fast the trainer's own workers prepare batches from JPEGs, and how many cores a GPU needs for them."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from entityclip.data import resources
from entityclip.data.image_stream import Streamed
from entityclip.data.preprocessing import Preprocessing
from entityclip.paths import DataLayout
from entityclip.training.feeding import feed
from entityclip.training.schedule import Steps
from lib.catalog_rows import catalog_rows
from lib.jpegs import photographs, write_version
from lib.trainer_step import settings_of

SIDE = 224
"""Pixels of the files."""
WANTED = (4500, 6000)
"""Pairs a second that a GPU is to train on: texts padded, and in few lengths."""
DISTINCT = 64
"""Files of different content; each stands in several rows."""
ARCHITECTURE, BATCH = "ViT-B-32", 64
TIMED = 4
"""Batches whose processor time is taken, after one that is not."""


def feeding(*, pictures: int, device: str) -> dict[str, Any]:
    """Pairs a second from shards to prepared batches: of one core by its processor time, and of all workers by the
    clock; and the cores for WANTED.
    """
    files = list(photographs(DISTINCT, width=SIDE, height=SIDE))
    config = settings_of(ARCHITECTURE, batch=BATCH, epochs=1, device=device, workers=resources.cores())
    with tempfile.TemporaryDirectory() as folder:
        data = DataLayout(Path(folder))
        write_version(data, [files[row % len(files)] for row in range(pictures)])
        streamed = Streamed(data, split="train", preprocessing=Preprocessing(size=config.kept_side))
        plan = Steps(config, replace(catalog_rows(pictures, side=1), pictures=streamed))
        core = BATCH * TIMED / _processor_seconds(plan)
        found = {
            "pairs_per_s": round(BATCH * _by_the_clock(plan), 1),
            "workers": config.workers,
            "pairs_per_s_per_core": round(core, 1),
            "cores_for": {wanted: math.ceil(wanted / core) for wanted in WANTED},
            "mean_bytes": round(sum(map(len, files)) / len(files)),
        }
    return found | _on_the_card(files, device=device)


def _processor_seconds(plan: Steps) -> float:
    """Of TIMED batches, on one thread as in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plan[0]
    started = time.process_time()
    for number in range(1, 1 + TIMED):
        plan[number]
    torch.set_num_threads(threads)
    return time.process_time() - started


def _by_the_clock(plan: Steps) -> float:
    """Batches a second, once every worker has made one."""
    batches = iter(feed(plan, first=0))
    for _ in range(plan.config.workers or 1):
        next(batches)
    started = time.monotonic()
    count = sum(1 for _ in batches)
    return count / (time.monotonic() - started)


def _on_the_card(files: list[bytes], *, device: str) -> dict[str, Any]:
    """Pictures a second that nvJPEG decodes, without crop and resize; the trainer does not use it."""
    if device != "cuda":
        return {}
    read = [torch.from_numpy(np.frombuffer(file, dtype=np.uint8).copy()) for file in files]
    for _ in range(2):
        started = time.monotonic()
        decode_jpeg(read, mode=ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()
        seconds = time.monotonic() - started
    return {"nvjpeg_pictures_per_s": round(len(files) / seconds, 1)}
