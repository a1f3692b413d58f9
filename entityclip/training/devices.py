"""The devices and processes of a run, by Accelerate."""

from __future__ import annotations

import platform
from itertools import chain

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin

from entityclip.data import resources
from entityclip.errors import ConfigError
from entityclip.model.distributed import processes
from entityclip.model.entityclip import EntityCLIP
from entityclip.training.config import TrainConfig


def join(config: TrainConfig) -> PartialState:
    """Meet the other processes that ``launch`` or ``torchrun`` started, if any. To be called before all else.

    Raises:
        ConfigError: The config wants a GPU, and PyTorch sees none; a run on the CPU would be called one on a GPU.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: PyTorch sees no CUDA device here; expected one, or device cpu")
    torch.set_num_threads(min(torch.get_num_threads(), resources.cores()))  # torch knows no container's quota
    return PartialState(cpu=config.device == "cpu")


def machine(device: torch.device) -> dict[str, str]:
    """Where a model is trained, for its card; nothing that names the machine or its user."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": resources.processor(),
        "cores": str(resources.cores()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
    }


def accelerator_of(config: TrainConfig, model: EntityCLIP) -> Accelerator:
    """The devices of the config; one process or several, as the run was started."""
    AcceleratorState._reset_state(reset_partial_state=processes() == 1)  # an earlier run may have had another precision
    kinds = sorted({type(block).__name__ for block in chain(*model.blocks())})
    shards = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=kinds
    )
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        fsdp_plugin=shards if config.shard else None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # a term may be off in a batch
    )
