"""In bf16 a step multiplies by copies of the weights, and computes what autocast alone computes."""

from __future__ import annotations

import pytest
import torch
from small_architectures import IMAGE_TOWERS, TEXT_TOWERS, architecture
from together import steps

from benchmarks.lib.step_counter import counting
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.model.config import ExpertConfig, ModelConfig, TowerConfig
from entityclip.paths import DataLayout
from entityclip.training import Adaptation, TrainConfig, batches
from entityclip.training.step import TrainingJob

TOWERS = {
    "vit": ("vit", "clip", 32),
    "resnet": ("resnet", "both directions", 64),
    "efficientnet": ("timm efficientnet", "clip", 64),
}


def settings(kind: str, **change: object) -> TrainConfig:
    image, text, side = TOWERS[kind]
    towers = TowerConfig(architecture=architecture(vision=IMAGE_TOWERS[image], text=TEXT_TOWERS[text]))
    config = TrainConfig(
        model=ModelConfig(towers=towers, experts=ExpertConfig(image=1, shared=2, text=1)),
        preprocessing=Preprocessing(size=side),
        tokenisation=Tokenisation(context=12),
        precision="bf16",
        batch=8,
        learning_rate=1e-3,
    )
    return config.changed(**change)


def without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingJob, "_reads_copies", lambda _: False)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("vit", {}),
        ("resnet", {}),
        ("efficientnet", {}),
        ("vit", {"checkpoint_gradients": True}),
        ("vit", {"adaptation": Adaptation(towers="last", blocks=1).model_dump()}),
    ],
)
def test_losses_gradients_and_weights_are_those_of_autocast_bit_for_bit(
    kind: str, change: dict[str, object], data: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = steps(settings(kind, **change), data)
    without_copies(monkeypatch)
    expected = steps(settings(kind, **change), data)
    assert found.keys() == expected.keys()
    assert {name for name in found if not torch.equal(found[name], expected[name])} == set()


def test_a_step_casts_what_it_computes_and_two_lists_in_place_of_each_weight(
    data: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def casts() -> int:
        training = batches.load_training_set(data, preprocessing=Preprocessing(size=32), progress=False)
        job = TrainingJob(settings("vit"), training)
        for number in range(2):
            job.step(number, job.steps[number])
        prepared = job.steps[2]
        with counting() as counter:
            job.step(2, prepared)
        assert counter.totals()["host_waits"] == 0
        return counter.totals()["casts_per_step"]

    with_copies = casts()
    without_copies(monkeypatch)
    assert with_copies < 0.6 * casts()


@pytest.mark.parametrize(
    "change",
    [{"precision": "float32"}, {"grad_cache_chunk": 4}, {"adaptation": Adaptation(towers="lora").model_dump()}],
)
def test_other_steps_use_the_weights_themselves(change: dict[str, object], data: DataLayout) -> None:
    training = batches.load_training_set(data, preprocessing=Preprocessing(size=32), progress=False)
    assert TrainingJob(settings("vit", **change), training).working is None
