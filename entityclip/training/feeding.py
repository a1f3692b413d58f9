"""How steps get their batches: prepared by workers ahead of the step that needs them, in memory that a GPU reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch.utils.data import DataLoader

from entityclip.data import resources
from entityclip.training.batches import PreparedBatch
from entityclip.training.config import TrainConfig
from entityclip.training.schedule import Steps

AHEAD = 2
"""Batches that each worker prepares ahead."""
SHARED_MEMORY = Path("/dev/shm")
"""Through it, workers pass their batches."""


def feed(steps: Steps, *, first: int) -> DataLoader[PreparedBatch]:
    """The batches from step number ``first`` on, in order."""
    config = steps.config
    workers = worker_count(config, processes=steps.processes)
    return DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, len(steps)),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=config.device != "cpu",
    )


def worker_count(config: TrainConfig, *, processes: int) -> int:
    """Worker processes of one of several ``processes`` that train together.

    Those of the config; where it leaves them open, none on a CPU, whose cores compute, and for a GPU one for each core
    but the one that launches its work, as long as their batches fit into half of the shared memory.
    """
    if config.workers is not None:
        return config.workers
    if config.device == "cpu":
        return 0
    batch_bytes = 3 * config.kept_side**2 * config.batch // processes
    room = shutil.disk_usage(SHARED_MEMORY).free // 2 // processes
    return min(_wanted(processes), room // ((AHEAD + 1) * batch_bytes))


def shortage(config: TrainConfig, *, processes: int) -> str:
    """What to say where shared memory allows fewer workers than there are cores for; empty where it does not."""
    if config.workers is not None or config.device == "cpu":
        return ""
    workers, wanted = worker_count(config, processes=processes), _wanted(processes)
    if workers == wanted:
        return ""
    return (
        f"workers: {workers} in place of {wanted} prepare batches, since more batches do not fit into half of "
        f"{SHARED_MEMORY}; give the container more of it (docker run --shm-size), or set workers"
    )


def _wanted(processes: int) -> int:
    """Workers of a process on a GPU: one for each of its cores but one."""
    return max(1, resources.cores() // processes - 1)
