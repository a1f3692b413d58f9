"""Exported towers: the same vectors, the same bytes, nothing foreign loaded. One tiny ResNet and one tiny ViT."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_data, tiny_model, tiny_picture, tiny_vit
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import CheckpointError, ConfigError
from entityclip.evaluation.compression import measure_runtimes
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.evaluation.onnx_export import export
from entityclip.model import checkpoint, onnx_runtime
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.onnx_runtime import ExportCard
from entityclip.paths import CheckpointLayout, DataLayout, ExportedLayout
from entityclip.retrieval.index.mixture import GROUPS
from entityclip.schemas import Mixture

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

ANY_LOSS = CompressionPolicy(runtimes=EXPORTED, budget=100)
"""So few pictures cannot show a small loss."""

TEXTS = ("KX-RED", "a blue kettle with a very long handle and a lid that nobody has seen", "茶")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def model(folder) -> LoadedModel:
    return tiny_model(folder)


@pytest.fixture(scope="module")
def layout(tmp_path_factory, model, data) -> ExportedLayout:
    layout = ExportedLayout(tmp_path_factory.mktemp("export") / "onnx")
    export(model, data, to=layout, policy=ANY_LOSS)
    return layout


@pytest.fixture
def card(layout) -> ExportCard:
    return onnx_runtime.read_card(layout)


def _copied(layout: ExportedLayout, to: Path) -> ExportedLayout:
    return ExportedLayout(shutil.copytree(layout.root, to / "onnx"))


def _pictures(count: int) -> list:
    return [tiny_picture("red", number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_fp32_gives_pytorchs_vectors_for_any_number_of_rows(model, layout, count):
    onnx = onnx_runtime.on("onnx", model, layout)
    assert np.allclose(onnx.embed_images(_pictures(count)), model.embed_images(_pictures(count)), atol=1e-5)
    assert np.allclose(onnx.embed_texts(TEXTS[:count]), model.embed_texts(TEXTS[:count]), atol=1e-5)


def test_int8_gives_nearly_the_same_unit_vectors(model, layout):
    int8 = onnx_runtime.on("onnx-int8", model, layout)
    for ours, torchs in (
        (int8.embed_images(_pictures(3)), model.embed_images(_pictures(3))),
        (int8.embed_texts(TEXTS), model.embed_texts(TEXTS)),
    ):
        assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-4)
        assert (ours * torchs).sum(axis=1).min() > 0.95
        assert not np.array_equal(ours, torchs)


def test_int8_sums_saturate_on_no_processor(layout, card):
    import onnx

    for tower in onnx_runtime.TOWERS:
        graph = onnx.load(layout.tower(tower, runtime="onnx-int8")).graph
        weights = [onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
        assert weights
        # Without VNNI, the products of two neighbours are added in 16 bits (vpmaddubsw).
        assert all(2 * 255 * np.abs(weight.astype(int)).max(initial=0) < 2**15 for weight in weights)
    assert card.int8_proven[:4] == onnx_runtime.X86_64
    assert card.measured_on == onnx_runtime.instruction_set()


CPU = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    not (CPU.exists() and "cpuid_fault" in CPU.read_text() and shutil.which("cc")),
    reason="needs Linux, a C compiler, and a processor whose CPUID can be intercepted",
)
@pytest.mark.slow
def test_int8_gives_the_same_vectors_without_vnni(layout, folder, model, tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from tiny import tiny_picture;"
        "from entityclip.model import checkpoint, onnx_runtime as exported;"
        "from entityclip.paths import CheckpointLayout, ExportedLayout;"
        "assert exported.instruction_set() == 'avx2', exported.instruction_set();"
        "model = checkpoint.load(CheckpointLayout(Path(sys.argv[1])));"
        "int8 = exported.on('onnx-int8', model, ExportedLayout(Path(sys.argv[2])));"
        "np.save(sys.argv[3], int8.embed_images([tiny_picture('red', number) for number in range(3)]))"
    )
    root, found = Path(__file__).parents[2], tmp_path / "vectors.npy"
    command = [sys.executable, "-c", code, str(folder), str(layout.root), str(found)]
    paths = os.pathsep.join([str(root), str(root / "tests")])
    subprocess.run(
        [sys.executable, str(root / "benchmarks" / "avx2.py"), *command],
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert np.allclose(
        np.load(found), onnx_runtime.on("onnx-int8", model, layout).embed_images(_pictures(3)), atol=1e-3
    )


def test_int8_is_refused_on_a_processor_for_which_it_is_not_proven(tmp_path, layout, model, card):
    copy = _copied(layout, tmp_path)
    for proven, named in (("another",), "proven for another"), ((), "from an older version"):
        card.model_copy(update={"int8_proven": proven}).write(copy.card)
        onnx_runtime.on("onnx", model, copy)
        with pytest.raises(ConfigError, match=rf"{named}.*this processor has .*use the runtime onnx, or export on"):
            onnx_runtime.on("onnx-int8", model, copy)


def test_runtime_that_does_not_ship_is_refused_with_the_reason_and_what_to_use(tmp_path, layout, model, card):
    copy = _copied(layout, tmp_path)
    refused = card.decisions["onnx-int8"].model_copy(update={"ships": False, "reasons": ("none loses 9 points",)})
    card.model_copy(update={"decisions": card.decisions | {"onnx-int8": refused}}).write(copy.card)
    onnx_runtime.on("onnx", model, copy)
    refusal = r"onnx-int8 does not ship .*: none loses 9 points\. Use the runtime torch or onnx"
    with pytest.raises(ConfigError, match=refusal):
        onnx_runtime.on("onnx-int8", model, copy)
    card.model_copy(update={"decisions": {"onnx-int8": refused}}).write(copy.card)
    with pytest.raises(ConfigError, match=r"not exported for onnx; use the runtime torch, or add it to compression"):
        onnx_runtime.on("onnx", model, copy)


def test_export_of_an_older_version_is_refused_with_the_remedy(tmp_path, layout, model, card):
    copy = _copied(layout, tmp_path)
    copy.card.write_text(card.model_dump_json(exclude={"decisions"}))
    for runtime in EXPORTED:
        with pytest.raises(ConfigError, match=r"older version.*use the runtime torch, or export again"):
            onnx_runtime.on(runtime, model, copy)


@pytest.mark.parametrize("tower", onnx_runtime.TOWERS)
@pytest.mark.parametrize("factor", [float("nan"), 0.0])
def test_damaged_scales_refuse_int8_and_no_other_runtime(tmp_path, layout, model, data, tower, factor, caplog):
    import onnx

    copy, card = _copied(layout, tmp_path), onnx_runtime.read_card(layout)
    spoilt = copy.tower(tower, runtime="onnx-int8")
    proto = onnx.load(spoilt)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("_scale"):
            scales = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(scales, tensor.name))
    onnx.save(proto, spoilt)
    written = card.model_copy(update={"files": card.files | {spoilt.name: file_sha256(spoilt)}, "decisions": {}})
    policy = CompressionPolicy(runtimes=EXPORTED, budget=20)
    squares = {32: np.zeros((2, 3, 32, 32), np.uint8)}
    measured = measure_runtimes(written, _by_texts(model), data, to=copy, squares=squares, policy=policy)
    decisions = measured.decisions
    assert decisions["onnx"].ships
    assert not decisions["onnx-int8"].ships
    failed = f"the exported towers failed: the vectors of the {tower} tower are not finite"
    assert (failed if math.isnan(factor) else "R@1 changes by -") in decisions["onnx-int8"].reasons[0]
    assert [bool(record.exc_info) for record in caplog.records] == [True] * math.isnan(factor)
    measured.write(copy.card)
    assert onnx_runtime.read_card(copy) == measured


def _by_texts(model: LoadedModel) -> LoadedModel:
    """The model with a mixed index of texts alone, so that damaged texts lower its recall like damaged pictures."""
    texts = dict.fromkeys(GROUPS, Mixture(caption=0.5, explanation=0.5, images=0))
    return replace(model, card=model.card.model_copy(update={"mixture": texts}))


def test_convolutions_are_static_int8_and_the_text_tower_is_dynamic(layout, card):
    import onnx

    assert card.methods == {"image": "static", "text": "dynamic"}
    kinds = {
        tower: {node.op_type for node in onnx.load(layout.tower(tower, runtime="onnx-int8")).graph.node}
        for tower in ("image", "text")
    }
    assert "QuantizeLinear" in kinds["image"]
    assert "MatMulInteger" in kinds["text"]


def test_card_holds_recall_by_slice_of_every_runtime(card, model):
    own = {"onnx, its own texts", "onnx-int8, its own texts", "onnx-int8, its own index"}
    assert set(card.recall) == {"torch", *EXPORTED, *own}
    for recall in card.recall.values():
        assert set(recall) == {"all", "frequent", "few", "one", "none"}
    assert card.recall["onnx"] == card.recall["torch"]
    assert card.fingerprint == model.card.fingerprint
    assert card.parity["onnx"]["image"].largest < 1e-5


@pytest.mark.slow
def test_same_checkpoint_gives_the_same_bytes_and_names_no_file_of_this_machine(layout, tmp_path, folder, data, card):
    options = [
        "--checkpoint",
        str(folder),
        "--data",
        str(data.root),
        "--to",
        str(tmp_path),
        "--budget",
        "100",
        "--json",
    ]
    ran = CliRunner().invoke(app, ["export", *options])
    assert ran.exit_code == 0, ran.output
    assert ExportCard.model_validate_json(ran.stdout.splitlines()[-1]) == card
    assert onnx_runtime.read_card(ExportedLayout(tmp_path)) == card
    for name in card.files:
        assert b".py" not in (layout.root / name).read_bytes()


def test_towers_of_another_checkpoint_are_refused(tmp_path, layout):
    other = tiny_model(tmp_path, seed=1)
    with pytest.raises(CheckpointError, match=r"exported from model \w+, but the weights are model"):
        onnx_runtime.on("onnx", other, layout)


def test_file_that_is_not_the_cards_is_refused(tmp_path, layout, model, card):
    copy = _copied(layout, tmp_path)
    copy.card.unlink()
    with pytest.raises(CheckpointError, match="no towers were exported; run: entityclip export"):
        onnx_runtime.on("onnx", model, copy)
    card.write(copy.card)
    onnx_runtime.on("onnx", model, copy)
    spoilt = copy.tower("text", runtime="onnx-int8")
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"\0")
    onnx_runtime.on("onnx", model, copy)  # reads another file
    with pytest.raises(CheckpointError, match=r"text\.int8\.onnx: not the file that the card beside it names"):
        onnx_runtime.on("onnx-int8", model, copy)
    copy.card.write_text(json.dumps({"fingerprint": "x"}))
    with pytest.raises(CheckpointError, match="not the card of an export"):
        onnx_runtime.on("onnx", model, copy)


@pytest.mark.slow
def test_transformer_is_dynamic_int8(tmp_path, data):
    torch.manual_seed(0)
    vit = EntityCLIP(tiny_vit(tmp_path))
    fields = {"data_hash": "", "config": {}, "code_hash": "", "epochs": 0, "metrics": {}}
    how = {"preprocessing": Preprocessing(size=32), "tokenisation": Tokenisation(context=24)}
    checkpoint.save(CheckpointLayout(tmp_path / "vit"), vit, **fields, **how)
    model = checkpoint.load(CheckpointLayout(tmp_path / "vit"))
    card = export(model, data, to=ExportedLayout(tmp_path / "onnx"))
    assert card.methods == {"image": "dynamic", "text": "dynamic"}
    assert card.parity["onnx"]["image"].largest < 1e-5
    assert card.parity["onnx-int8"]["image"].cosine > 0.95
    assert card.decisions["onnx"].ships
    assert not card.decisions["onnx-int8"].ships  # within one point, as far as so few pictures can say
    assert "too few queries" in " ".join(card.decisions["onnx-int8"].reasons)
    assert set(card.files) == {"image.fp32.onnx", "text.fp32.onnx"}
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {*card.files, "export.json"}


def test_missing_onnx_runtime_says_what_to_install(layout, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'entityclip\[onnx\]'"):
        onnx_runtime.on("onnx", model, layout)


def test_with_pytorch_nothing_imports_onnx_runtime():
    code = (
        "import sys; from bentos.runtime import releases; import entityclip.retrieval.predictor;"
        "sys.exit('onnxruntime' in sys.modules or 'onnx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
