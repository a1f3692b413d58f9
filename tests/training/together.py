"""Several processes on this machine, joined by gloo, that do one training job together."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
import torch.multiprocessing

from entityclip.paths import DataLayout
from entityclip.training import TrainConfig, batches
from entityclip.training.resume_state import whole_state
from entityclip.training.step import TrainingJob

STEPS = 3


def steps(config: TrainConfig, data: DataLayout) -> dict[str, torch.Tensor]:
    """What the first steps of a job give: losses, the gradients of the first, the weights after the last."""
    full = config.preprocessing
    job = TrainingJob(config, batches.load_training_set(data, preprocessing=full, progress=False))
    found: dict[str, torch.Tensor] = {}
    for number in range(STEPS):
        terms = job.step(number, job.steps[number])
        found |= {f"loss.{number}.{name}": torch.tensor(value) for name, value in terms.items()}
        if number == 0 and not config.shard:
            found |= {f"grad.{n}": p.grad.clone() for n, p in job.model.named_parameters() if p.grad is not None}
    return found | {f"weight.{name}": value for name, value in whole_state(job.wrapped).items()}


def steps_together(
    configs: list[TrainConfig], data: DataLayout, *, processes: int, folder: Path
) -> list[dict[str, torch.Tensor]]:
    """The same for one config after the other, found by ``processes`` processes; as the first of them saw it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / f"{processes}.pt"
    torch.multiprocessing.spawn(_work, (processes, port, configs, data, out), nprocs=processes)
    return torch.load(out, weights_only=True)


def _work(rank: int, processes: int, port: int, configs: list[TrainConfig], data: DataLayout, out: Path) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in here.items()})
    torch.set_num_threads(1)
    found = [steps(config, data) for config in configs]
    if rank == 0:
        torch.save(found, out)
    torch.distributed.destroy_process_group()
