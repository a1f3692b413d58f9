"""A smaller image tower learns to see as a trained one does."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip import training
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ConfigError
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import CheckpointLayout, DataLayout, RunLayout
from entityclip.training import presets
from entityclip.training.distillation import distil, student_of
from entityclip.training.distillation_config import Distillation
from entityclip.training.trainer import fit, silent

SHORT = Distillation(steps=120, views=2, batch=8, learning_rate=5e-3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("teacher"), preprocessing=Preprocessing(size=64))


def seen(model: LoadedModel) -> np.ndarray:
    return model.embed_images([tiny_picture(colour, 1) for colour in ("red", "green", "blue")])


def test_a_student_of_half_the_size_comes_nearer_to_its_teacher_and_reads_the_same(
    tmp_path: Path, teacher: LoadedModel, data: DataLayout, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    tiny_picture("orange", 2).save(tmp_path / "further.png")
    files = [tmp_path / "broken.jpg", tmp_path / "further.png"]
    to = CheckpointLayout(tmp_path / "student")
    with caplog.at_level(logging.WARNING):
        card = distil(teacher, data, config=SHORT, to=to, data_hash="d", unlabelled=files, progress=False)
    assert "broken.jpg" in caplog.text
    student, start = checkpoint.load(to), student_of(teacher, SHORT)
    start.model.eval()
    assert (card.preprocessing.size, teacher.card.preprocessing.size) == (32, 64)
    assert card.fingerprint != teacher.card.fingerprint
    assert card.first_weights == {"teacher": teacher.card.weights_sha256}
    assert (card.data_hash, card.metrics["pictures"]) == ("d", 17)
    assert training.TrainConfig.model_validate(card.config).distillation == SHORT
    taught, before, after = (seen(model) for model in (teacher, start, student))
    assert (taught * after).sum(axis=1).mean() > (taught * before).sum(axis=1).mean()
    assert np.array_equal(student.embed_texts(["red kettle"]), teacher.embed_texts(["red kettle"]))


def test_another_architecture_begins_at_random_and_keeps_everything_but_the_image_tower(teacher: LoadedModel) -> None:
    student = student_of(teacher, Distillation(architecture="entityclip-small", size=32))
    ours, theirs = student.model.state_dict(), teacher.model.state_dict()
    same = {name for name in theirs if not name.startswith("visual.")}
    assert all(torch.equal(ours[name], theirs[name]) for name in same)
    assert student.dim == teacher.dim
    assert sum(value.numel() for value in student.model.visual.parameters()) > sum(
        value.numel() for value in teacher.model.visual.parameters()
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Distillation(architecture="ViT-B-32", size=64), "takes only 224"),
        (Distillation(architecture="no-such"), "no-such"),
        (Distillation(size=16), "size 16: the image tower takes larger ones"),
        (Distillation(image_weights="somewhere"), "without an architecture"),
        (
            Distillation(architecture="entityclip-photos", image_weights="dinov3-s16"),
            "licence dinov3-license has restrictions .* to distillation.accept_licences",
        ),
    ],
)
def test_a_student_that_cannot_be_is_refused(teacher: LoadedModel, config: Distillation, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        student_of(teacher, config)


def test_a_run_with_a_distillation_ends_with_the_student_and_goes_on_behind_its_teacher(
    tmp_path: Path, data: DataLayout
) -> None:
    plain = presets.tiny().train.changed(epochs=1, batch=8, preprocessing=Preprocessing(size=64).model_dump())
    config = plain.changed(distillation=SHORT.model_dump())
    assert training.run_key(plain, data_hash="d") != training.run_key(config, data_hash="d")
    run = RunLayout(tmp_path)

    def trained() -> str:
        return fit(config, data=data, data_hash="d", run=run, report=silent, progress=False).fingerprint

    first, teacher = trained(), run.teacher.card.read_bytes()
    assert checkpoint.load(run.checkpoint).card.preprocessing.size == 32
    assert checkpoint.load(run.teacher).card.preprocessing.size == 64
    run.checkpoint.card.unlink()  # killed while the student learned
    assert trained() == first
    assert run.teacher.card.read_bytes() == teacher
    written = run.checkpoint.weights.stat().st_mtime_ns
    assert trained() == first
    assert run.checkpoint.weights.stat().st_mtime_ns == written  # a third time nothing is done
    run.checkpoint.card.unlink()
    run.teacher.weights.write_bytes(b"damaged")
    assert trained() == first  # both are made again
