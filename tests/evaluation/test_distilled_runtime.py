"""The runtime 'distilled': a student's image tower, measured and refused like the other runtimes."""

import numpy as np
import onnx
import pytest
from tiny import tiny_data, tiny_model, tiny_picture
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ConfigError
from entityclip.evaluation.compression_policy import CompressionPolicy
from entityclip.evaluation.onnx_export import export
from entityclip.model import onnx_runtime
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.onnx_runtime import ExportCard
from entityclip.paths import DataLayout, ExportedLayout
from entityclip.retrieval import rerank
from entityclip.retrieval.index import EntityIndex
from entityclip.training import Distillation

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"), preprocessing=Preprocessing(size=64))


@pytest.fixture(scope="module")
def printed(model, data) -> str:
    """What the command prints that exports every runtime."""
    places = ["--checkpoint", str(model.place.root), "--data", str(data.root), "--budget", "100"]
    ran = CliRunner().invoke(app, ["export", *places, "--student", "32", "--minutes", "0.01"])
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.fixture(scope="module")
def layout(model, printed) -> ExportedLayout:
    return model.place.exported


@pytest.fixture(scope="module")
def card(layout) -> ExportCard:
    return onnx_runtime.read_card(layout)


def test_student_sees_its_own_size_and_reads_texts_as_its_teacher(model, layout, card):
    student = onnx_runtime.on("distilled", model, layout)
    assert (student.card.preprocessing.size, card.student.size) == (32, 32)
    shape = onnx.load(layout.tower("image", runtime="distilled")).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim[2:]] == [32, 32]
    pictures = [tiny_picture("red", number) for number in range(3)]
    seen, taught = student.embed_images(pictures), model.embed_images(pictures)
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-4)
    assert not np.allclose(seen, taught, atol=1e-3)
    assert np.allclose(student.embed_texts(["a red kettle"]), model.embed_texts(["a red kettle"]), atol=1e-5)
    assert student.card.fingerprint == model.card.fingerprint  # so that it queries the release's indexes


def test_card_says_what_the_student_is_and_what_it_finds(card, printed):
    assert "distilled ships: " in printed
    assert {"image.distilled.onnx", "text.fp32.onnx"} < set(card.files)
    assert {"distilled", "distilled, its own texts", "distilled, its own index"} < set(card.recall)
    assert card.student.settings["minutes"] == 0.01
    assert card.student.metrics["steps"] >= 1
    assert card.decisions["distilled"].ships
    assert card.parity["distilled"]["image"].cosine < 0.999


def test_student_beyond_the_budget_is_deleted_and_the_others_stay(tmp_path, model, data):
    refused = ExportedLayout(tmp_path / "onnx")
    policy = CompressionPolicy(runtimes=("onnx", "distilled"), distillation=Distillation(size=32, steps=2, views=2))
    card = export(model, data, to=refused, policy=policy)
    assert card.decisions["onnx"].ships
    assert not card.decisions["distilled"].ships
    assert {path.name for path in refused.root.iterdir()} == {"image.fp32.onnx", "text.fp32.onnx", "export.json"}
    onnx_runtime.on("onnx", model, refused)
    with pytest.raises(ConfigError, match=r"distilled does not ship .*Use the runtime torch or onnx"):
        onnx_runtime.on("distilled", model, refused)


def test_student_that_cannot_be_built_refuses_its_runtime_alone(tmp_path, model, data):
    policy = CompressionPolicy(runtimes=("onnx", "distilled"), distillation=Distillation(size=16))
    layout = ExportedLayout(tmp_path / "onnx")
    layout.root.mkdir()
    layout.tower("image", runtime="distilled").write_bytes(b"of an earlier export")
    card = export(model, data, to=layout, policy=policy)
    assert card.decisions["onnx"].ships
    assert card.decisions["distilled"].reasons[0].startswith("no student: distillation.size 16: the image tower takes")
    assert (card.student, set(card.files)) == (None, {"image.fp32.onnx", "text.fp32.onnx"})
    assert {path.name for path in layout.root.iterdir()} == {*card.files, "export.json"}


def test_student_does_not_re_rank(model, data, layout, card):
    student, entities = onnx_runtime.on("distilled", model, layout), EntityIndex.build(model, data)
    with pytest.raises(ConfigError, match=r"the runtime distilled cannot re-rank: .*expected rerank 0"):
        rerank.rerank(student, entities, [tiny_picture("red", 0)], rows=np.arange(2), similarities=np.zeros(2))
