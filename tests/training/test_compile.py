"""Compiled towers: few shapes, the same numbers, a limit of time; and CUDA graphs, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.runtime.cache_dir_utils import cache_dir

from benchmarks.lib.graph_stand_in import graphs_stand_in
from benchmarks.lib.step_counter import counting
from entityclip.model.checkpoint_card import read_card
from entityclip.model.config import TowerConfig
from entityclip.paths import DataLayout, DecodedLayout, RunLayout
from entityclip.training import TrainConfig, batches, compiled_blocks, cuda_graphs
from entityclip.training.cuda_graphs import obstacle
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

WITH_BATCH_NORM = TowerConfig(architecture="entityclip-tiny", mean_pool=True)


@pytest.fixture(scope="module")
def config(config: TrainConfig) -> TrainConfig:
    """Four epochs of batches of six pairs and a last one of four; the steps have two to four entities."""
    return config.changed(batch=6)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks are traced and guarded as always, but computed by PyTorch's own kernels: compiling them takes minutes."""
    monkeypatch.setattr(compiled_blocks, "BACKEND", "eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def job_of(config: TrainConfig, data: DataLayout) -> TrainingJob:
    return TrainingJob(config, batches.load_training_set(data, preprocessing=config.preprocessing, progress=False))


def losses(job: TrainingJob) -> Iterator[torch.Tensor]:
    """Of every step of the run."""
    for number in range(len(job.steps)):
        yield job.step(number, job.steps[number])["loss"]


@pytest.fixture(scope="module")
def expected(config: TrainConfig, data: DataLayout) -> torch.Tensor:
    """Of a run that neither compiles nor pads."""
    return torch.stack(list(losses(job_of(config, data))))


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


# ---------------------------------------------------------------- compilation
@pytest.mark.usefixtures("traced")
def test_after_the_first_epoch_nothing_is_compiled_and_every_loss_is_that_of_the_uncompiled_run(
    config: TrainConfig, data: DataLayout, expected: torch.Tensor
) -> None:
    job = job_of(config.changed(compile=True), data)
    entities = {len(set(job.steps.training.entities[rows])) for _, rows in job.steps.plan}
    assert len(entities) > 1  # else the number of texts would be one anyway
    assert {len(job.steps[number].captions) for number in range(len(job.steps))} == {max(entities)}
    found, compiled = [], []
    for loss in losses(job):
        found.append(loss)
        compiled.append(graphs())
    first_epoch = sum(epoch == 0 for epoch, _ in job.steps.plan)
    assert 0 < compiled[first_epoch - 1] == compiled[-1]
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("traced")
def test_beyond_the_limit_of_time_nothing_more_is_compiled_and_it_is_said_once(
    config: TrainConfig,
    data: DataLayout,
    expected: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compiled_blocks, "MOST_SECONDS", 0.0)
    job = job_of(config.changed(compile=True), data)
    steps = losses(job)
    found, compiled = [next(steps)], graphs()
    found += list(steps)  # the last batch of the epoch is smaller
    assert 0 < compiled == graphs()
    assert capsys.readouterr().out.count("are computed uncompiled") == 1
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("traced")
def test_a_run_says_why_it_has_no_graphs_keeps_its_kernels_and_records_the_time(
    config: TrainConfig,
    data: DataLayout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")  # put back afterwards
    run, decoded = RunLayout(tmp_path), DecodedLayout(tmp_path / "decoded")
    how = config.changed(compile=True, epochs=1, keep="best")
    fit(how, data=data, data_hash="", run=run, report=lambda *_: None, decoded=decoded, progress=False)
    assert "compile: no CUDA graphs: device cpu" in capsys.readouterr().out
    assert cache_dir() == str(decoded.kernels)
    assert read_card(run.checkpoint).metrics["compile_s"] > 0


# ---------------------------------------------------------------- CUDA graphs
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "cpu"}, "device cpu"),
        ({"grad_cache_chunk": 2}, "several times in a step"),
        ({"checkpoint_gradients": True}, "reads a block twice"),
        ({}, ""),
    ],
)
def test_what_a_graph_cannot_hold_is_named(
    config: TrainConfig, change: dict[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "BESIDE_THREADS", True)
    found = obstacle(config.changed(**{"device": "cuda", "compile": True, **change}))
    assert (reason in found) if reason else not found


def test_an_older_pytorch_captures_no_graph_beside_the_thread_that_pins(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "BESIDE_THREADS", False)
    assert "2.14 can" in obstacle(config.changed(device="cuda", compile=True))


def graphed(config: TrainConfig, data: DataLayout) -> TrainingJob:
    job = job_of(config.changed(compile=True), data)
    job.graphed = True
    return job


@pytest.mark.skipif(torch.cuda.is_available(), reason="a capture does not fail here")
def test_a_capture_that_fails_is_said_once_and_the_towers_go_on_without(
    config: TrainConfig, data: DataLayout, expected: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.compiler.set_stance("force_eager"):
        job = graphed(config, data)
        found = torch.stack(list(losses(job)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert job.graphs is not None
    assert not len(job.graphs)
    assert capsys.readouterr().out.count(f"the steps go on without: {job.graphs.failure}") == 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_each_part_of_each_shape_is_captured_once_and_gives_the_losses_of_the_whole_step(
    config: TrainConfig, data: DataLayout, precision: str
) -> None:
    config = config.changed(precision=precision, epochs=2)
    with torch.compiler.set_stance("force_eager"), graphs_stand_in() as replays:
        eager = torch.stack(list(losses(job_of(config.changed(compile=True), data))))
        job = graphed(config, data)
        found = torch.stack(list(losses(job)))
        assert job.graphs is not None
        parts = len(job.graphs)
        assert job.graphs.failure == ""
        assert 3 <= parts < replays.count / 4  # towers and loss; forward and backward of each step
        prepared = job.steps[0]
        replays.reset()
        with counting() as seen:
            job.step(0, prepared)
    torch.testing.assert_close(found, eager, rtol=1e-6, atol=0)
    assert len(job.graphs) == parts
    assert replays.count in (6, 8)  # pictures, loss, and texts in one pass or two
    assert seen.totals()["host_waits"] == 0
    assert seen.totals()["ops_per_step"] < 100


def test_a_capture_leaves_the_statistics_of_batch_norms_as_they_are(config: TrainConfig, data: DataLayout) -> None:
    normed = config.changed(model=TrainConfig().model.model_copy(update={"towers": WITH_BATCH_NORM}), epochs=1)
    with torch.compiler.set_stance("force_eager"), graphs_stand_in() as replays:
        jobs = job_of(normed.changed(compile=True), data), graphed(normed, data)
        for job in jobs:
            job.step(0, job.steps[0])
    assert replays.count > 0
    assert jobs[1].graphs is not None
    assert len(jobs[1].graphs) >= 3
    eager, found = (dict(job.model.named_buffers()) for job in jobs)
    assert {name for name in eager if not torch.equal(found[name], eager[name])} == set()


def test_a_capture_that_fails_leaves_the_statistics_of_batch_norms_as_they_are(
    config: TrainConfig, data: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_late(part: torch.nn.Module, sample: tuple[Any, ...], **_: object) -> None:
        part(*sample)
        raise RuntimeError("no memory")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails_late)
    normed = config.changed(model=TrainConfig().model.model_copy(update={"towers": WITH_BATCH_NORM}), epochs=1)
    with torch.compiler.set_stance("force_eager"):
        jobs = job_of(normed.changed(compile=True), data), graphed(normed, data)
        for job in jobs:
            job.step(0, job.steps[0])
    assert jobs[1].graphs is not None
    assert jobs[1].graphs.failure == "RuntimeError: no memory"
    eager, found = (dict(job.model.named_buffers()) for job in jobs)
    assert {name for name in eager if not torch.equal(found[name], eager[name])} == set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_on_a_gpu_graphs_of_compiled_towers_give_the_losses_of_the_eager_step(
    config: TrainConfig, data: DataLayout, precision: str
) -> None:
    config = config.changed(device="cuda", precision=precision)
    eager = torch.stack(list(losses(job_of(config, data))))
    job = graphed(config, data)
    found = torch.stack(list(losses(job)))
    assert job.graphs is not None
    assert (job.graphs.failure, len(job.graphs) > 1) == ("", True)
    job.require_finite()
    torch.testing.assert_close(found, eager, rtol=1e-3 if precision == "float32" else 2e-2, atol=1e-4)
