"""A step never waits for its device: counted on the CPU in what is dispatched, and forbidden on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.lib.step_counter import StepCounter, counting
from entityclip.errors import TrainingError
from entityclip.paths import DataLayout
from entityclip.training import Adaptation, TrainConfig, batches
from entityclip.training.resume_state import whole_state
from entityclip.training.step import TrainingJob


@pytest.fixture(scope="module")
def config(config: TrainConfig) -> TrainConfig:
    return config.changed(ema_decay=0.9, max_grad_norm=1.0)


def job_of(config: TrainConfig, data: DataLayout) -> TrainingJob:
    """After two steps: moments are there, and what is copied to a GPU once."""
    training = batches.load_training_set(data, preprocessing=config.preprocessing, progress=False)
    job = TrainingJob(config, training)
    for number in range(2):
        job.step(number, job.steps[number])
    return job


def counted(work: Callable[[], object]) -> StepCounter:
    with counting() as counter:
        work()
    return counter


# ---------------------------------------------------------------- the trainer's real step
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"precision": "bf16"},
        {"grad_cache_chunk": 3},
        {"checkpoint_gradients": True},
        {"loss": {"explanation": 0, "beta": 0, "eta": 0}},
        {"adaptation": Adaptation(towers="last", blocks=1).model_dump()},
    ],
)
def test_no_step_waits_for_its_device(config: TrainConfig, data: DataLayout, change: dict[str, object]) -> None:
    job = job_of(config.changed(**change), data)
    prepared = job.steps[2]
    seen = counted(lambda: job.step(2, prepared))
    assert seen.operations["aten._fused_adamw_.default"] >= 1  # update and
    assert sum(n for name, n in seen.operations.items() if "backward" in name) > 5  # backward pass were seen
    assert seen.waits == {}


def test_the_running_mean_is_one_operation(config: TrainConfig, data: DataLayout) -> None:
    job = job_of(config, data)
    with torch.no_grad():
        assert counted(lambda: job.average.add(3)).totals()["ops_per_step"] == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_gpu_finds_no_wait_from_loss_to_update(config: TrainConfig, data: DataLayout, precision: str) -> None:
    job = job_of(config.changed(device="cuda", precision=precision), data)
    prepared = job.steps[2]
    prepared = type(prepared)(*(tensor.pin_memory() for tensor in prepared))
    torch.cuda.set_sync_debug_mode("error")
    try:
        job.step(2, prepared)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    job.require_finite()


# ---------------------------------------------------------------- what the counter counts
VALUES = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
WAITS: dict[str, Callable[[], object]] = {
    "item": lambda: VALUES[0, 0].item(),
    "float": lambda: float(VALUES[0, 0]),
    "int": lambda: int(VALUES[0, 0]),
    "bool": lambda: bool(VALUES[0, 0]),
    "all": lambda: bool(VALUES.isfinite().all()),
    "cpu": lambda: VALUES.cpu(),
    "to cpu": lambda: VALUES.to("cpu"),
    "tolist": lambda: VALUES.tolist(),
    "numpy": lambda: VALUES.numpy(),
    "nonzero": lambda: VALUES.nonzero(),
    "where": lambda: torch.where(VALUES > 1),
    "masked_select": lambda: VALUES.masked_select(VALUES > 1),
    "boolean index": lambda: VALUES[VALUES > 1],
    "boolean assignment": lambda: VALUES.clone().index_put_((VALUES > 1,), torch.ones(2)),
    "multinomial": lambda: torch.multinomial(VALUES, 1),
    "unique": lambda: VALUES.unique(),
    "a copied constant": lambda: torch.tensor([1.0], device=VALUES.device),
    "new_tensor": lambda: VALUES.new_tensor([1.0]),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_counted(name: str) -> None:
    assert counted(WAITS[name]).totals()["host_waits"] == 1


def test_a_wait_in_a_backward_pass_is_counted() -> None:
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda gradient: gradient * float(gradient.sum()))
    assert counted(lambda: (2 * x).sum().backward()).totals()["host_waits"] == 1


def test_what_does_not_wait_is_not_counted() -> None:
    seen = counted(lambda: (VALUES[torch.tensor([0, 1])].view(-1) * 2).to(torch.bfloat16))
    assert seen.totals() == {"ops_per_step": 3, "casts_per_step": 1, "host_waits": 0}


# ---------------------------------------------------------------- a step that is not finite
@pytest.fixture(params=["loss", "gradient"])
def broken(request: pytest.FixtureRequest, config: TrainConfig, data: DataLayout) -> TrainingJob:
    """A job whose third step is not finite."""
    job = job_of(config, data)
    match = job.model.mmae.match.weight
    if request.param == "loss":
        hook = job.model.mmae.match.register_forward_hook(lambda _, __, logits: logits * float("nan"))
    else:
        hook = match.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in whole_state(job.wrapped).items()}
    job.step(2, job.steps[2])
    hook.remove()
    job.step(3, job.steps[3])
    after = whole_state(job.wrapped)
    assert {name for name in before if not torch.equal(before[name], after[name])} == set()
    return job


def test_no_weight_changes_from_a_step_on_that_is_not_finite_and_its_pairs_are_named(broken: TrainingJob) -> None:
    moments = [state["exp_avg"] for state in broken.optimizer.state.values()]
    assert all(bool(moment.isfinite().all()) for moment in moments)
    _, rows = broken.steps.plan[2]
    with pytest.raises(TrainingError, match=r"step 2: the (loss|gradient) is no longer finite") as raised:
        broken.require_finite()
    assert str(raised.value).endswith(", ".join(broken.steps.training.pair_ids[rows]))
