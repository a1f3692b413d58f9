"""The state of a run on disk: whole weights and moments, whatever number of processes holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from entityclip.model.checkpoint import save_tensors
from entityclip.model.distributed import process
from entityclip.training.ema import Average

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
PARTLY = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


def whole_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every weight and buffer, whole, on the CPU of the first process; nothing on the others."""
    return {name: value for name, value in get_model_state_dict(model, options=WHOLE).items() if torch.is_tensor(value)}


def put_weights(model: nn.Module, weights: dict[str, Any]) -> None:
    """Whole weights into a model, whatever part of them each process holds."""
    set_model_state_dict(model, weights, options=WHOLE)


@torch.no_grad()
def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, *, step: int) -> None:
    """Keep weights, mean and moments after ``step`` steps. Every process has to call it; the first one writes."""
    weights, mean = whole_state(model), {}
    if average:
        with average.shown():
            mean = {
                name: value.clone() for name, value in whole_state(model).items()
            }  # on a CPU they are the model's own
    moments: Any = get_optimizer_state_dict(model, optimizer, options=WHOLE).get("state", {})
    if process() == 0:
        tensors = {f"model.{name}": value for name, value in weights.items()}
        tensors |= {f"average.{name}": value for name, value in mean.items()}
        for weight, values in moments.items():
            tensors |= {f"optimizer.{weight}.{name}": value for name, value in values.items()}
        save_tensors(path, tensors, metadata={"step": str(step)})


@torch.no_grad()
def resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average) -> int:
    """Put a saved state back, if there is one; returns the number of steps done. Every process has to call it."""
    if not path.is_file():
        return 0
    weights: dict[str, dict[str, Any]] = {"average": {}, "model": {}}
    moments: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for key in file.keys():  # noqa: SIM118 (not a dict)
            kind, name = key.split(".", 1)
            if kind in weights:
                weights[kind][name] = file.get_tensor(key)
            else:
                weight, moment = name.rsplit(".", 1)
                moments.setdefault(weight, {})[moment] = file.get_tensor(key)
    if average:
        put_weights(model, weights["average"])
        average.begin()
    put_weights(model, weights["model"])
    groups = get_optimizer_state_dict(model, optimizer)["param_groups"]  # as WHOLE, only the first process had them
    state: Any = {"state": moments, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, state, options=PARTLY)
    for name, unused in model.named_parameters():
        if name.removeprefix("module.") not in moments:  # never had a gradient: its term is off
            optimizer.state.pop(unused, None)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:  # AdamW's fused kernel walks memory: same layout as the parameter
                values[name] = torch.empty_like(parameter).copy_(value)
    return step
