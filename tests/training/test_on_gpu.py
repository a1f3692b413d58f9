"""The same numbers on a GPU as on the CPU. Without a CUDA device the CPU alone runs them, so that they do not rot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from together import steps

from entityclip.experiments.ablate import VARIANTS, ablate, runs
from entityclip.model import checkpoint
from entityclip.paths import AblationLayout, DataLayout, RunLayout
from entityclip.training import TrainConfig
from entityclip.training.trainer import fit

on_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def on_cpu(config: TrainConfig, data: DataLayout) -> dict[str, torch.Tensor]:
    return steps(config, data)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"grad_cache_chunk": 3}, {"checkpoint_gradients": True}, {"compile": True}])
def test_losses_and_gradients_are_those_of_the_cpu(
    config: TrainConfig, data: DataLayout, on_cpu: dict[str, torch.Tensor], change: dict[str, object], device: str
) -> None:
    # Compiling for the CPU would take minutes; there the same code runs without a compiler.
    with torch.compiler.set_stance("default" if device == "cuda" else "force_eager"):
        found = steps(config.changed(device=device, **change), data)
    compared = [name for name in on_cpu if name.startswith(("loss", "grad"))]
    assert len(compared) > 50
    for name in compared:
        torch.testing.assert_close(
            found[name].cpu(), on_cpu[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_half_precision_is_near(
    config: TrainConfig, data: DataLayout, on_cpu: dict[str, torch.Tensor], device: str
) -> None:
    halved = steps(config.changed(device=device, precision="bf16"), data)
    assert 0 < abs(halved["loss.0.vtc"] - on_cpu["loss.0.vtc"]) < 0.05


@pytest.mark.slow
def test_a_killed_run_goes_on_and_its_checkpoint_answers_alike_on_both_devices(
    config: TrainConfig, data: DataLayout, tmp_path: Path, device: str
) -> None:
    config = config.changed(device=device, ema_decay=0.9, save_seconds=0)

    def trained(folder: Path, *, die_after: int = 99) -> dict[str, torch.Tensor]:
        def report(epoch: int, terms: dict[str, float]) -> None:
            assert terms["loss"] > 0
            if epoch == die_after:
                raise InterruptedError

        fit(config, data=data, data_hash="d", run=RunLayout(folder), report=report, progress=False)
        return load_file(RunLayout(folder).checkpoint.weights)

    unbroken = trained(tmp_path / "unbroken")
    with pytest.raises(InterruptedError):
        trained(tmp_path / "killed", die_after=2)
    for name, weight in trained(tmp_path / "killed").items():
        torch.testing.assert_close(weight, unbroken[name], rtol=1e-3, atol=1e-4)
    here, there = (checkpoint.load(RunLayout(tmp_path / "killed").checkpoint, device=d) for d in ("cpu", device))
    texts = ["KX-RED", "a body like a red disc"]
    assert here.embed_texts(texts) == pytest.approx(there.embed_texts(texts), abs=1e-4)


@pytest.mark.slow
def test_several_trainings_share_the_device(config: TrainConfig, data: DataLayout, tmp_path: Path, device: str) -> None:
    config = config.changed(device=device, epochs=1)
    planned = [run for run in runs(config, seeds=2) if run.variant == VARIANTS[3]]
    to = AblationLayout(tmp_path)
    found = ablate(planned, data=data, data_hash="d", to=to, report=lambda *_: None, jobs=2, progress=False)
    assert set(found.cells["seed"]) == {0, 1}
