"""A package that holds exported towers, and the service on it: chosen by ENTITYCLIP_RUNTIME, or refused."""

import io
import shutil
from pathlib import Path

import pytest
from tiny import tiny_picture

from bentos import settings
from bentos.build.contents import lay_out
from bentos.build.package import build
from bentos.build.smoke_test import TOLERANCE, serving
from bentos.client import Client
from bentos.runtime.loaded_release import LoadedRelease
from bentos.runtime.manifest import seal
from entityclip.errors import CheckpointError, ConfigError
from entityclip.model import onnx_runtime
from entityclip.paths import Layout, PackageLayout, StoreLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

SERVICE = "bentos.service:EntityClip"


@pytest.fixture(scope="module")
def onnx_release(tmp_path_factory, released):
    """A release whose settings ask for exported towers: its layout and its description."""
    source = Layout(tmp_path_factory.mktemp("onnx") / "release")
    shutil.copytree(released.layout.root, source.root)
    source.config.write_text("compression: {runtimes: [onnx, onnx-int8], budget: 100}\n")
    return source, released.release


@pytest.fixture(scope="module")
def onnx_package(tmp_path_factory, onnx_release) -> PackageLayout:
    """A package of that release."""
    source, release = onnx_release
    package = PackageLayout(tmp_path_factory.mktemp("package") / "package")
    lay_out(package, source, source.data, PackageCard(release=release, suite_hash="suite", licences=("MIT",)))
    return package


@pytest.fixture(scope="module")
def onnx_store(tmp_path_factory, store_home: Path, onnx_package) -> Path:
    """BENTOML_HOME with that package as the model that the service serves."""
    store = tmp_path_factory.mktemp("store") / "home"
    shutil.copytree(store_home, store)
    shutil.copytree(onnx_package.root, StoreLayout(store).model("none").root, dirs_exist_ok=True)
    return store


@pytest.mark.slow
def test_release_with_the_setting_has_exported_towers_in_its_package(onnx_package, package):
    assert onnx_package.checkpoint.exported.card.is_file()
    assert not package.checkpoint.exported.root.exists()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
def test_predictor_on_exported_towers_scores_as_pytorchs(onnx_package, predictor, runtime):
    exported, picture = Predictor.load(onnx_package.root, runtime=runtime), tiny_picture("red", 1)
    assert exported.about().runtime == runtime
    assert exported.similarity(picture, "KX-RED") == pytest.approx(
        predictor.similarity(picture, "KX-RED"), abs=TOLERANCE[runtime]
    )
    assert exported.search("KX-RED", target="entities", k=1)[0].exact


@pytest.mark.slow
def test_service_answers_with_the_runtime_that_its_environment_names(onnx_store, predictor, monkeypatch):
    file = io.BytesIO()
    tiny_picture("red", 1).save(file, "PNG")
    expected = {tag.entity: tag.score for tag in predictor.tag(tiny_picture("red", 1), k=6)}
    monkeypatch.setenv("ENTITYCLIP_RUNTIME", "onnx-int8")
    with serving(SERVICE, store=onnx_store) as url, Client(url) as service:
        assert service.about().model.runtime == "onnx-int8"
        scores = {tag.entity: tag.score for tag in service.tag(file.getvalue(), k=6).tags}
    assert scores == pytest.approx(expected, abs=TOLERANCE["onnx-int8"])
    assert scores != expected


def test_package_without_exported_towers_is_not_loaded_for_onnx(package, monkeypatch):
    monkeypatch.setattr(settings, "RUNTIME", "onnx")
    with pytest.raises(CheckpointError, match="no towers were exported; run: entityclip export"):
        LoadedRelease.load(package.root, changes=None, decoders=1)


@pytest.mark.slow
def test_service_refuses_a_runtime_that_did_not_ship(onnx_package, monkeypatch, tmp_path):
    package = PackageLayout(shutil.copytree(onnx_package.root, tmp_path / "package"))
    exported = package.checkpoint.exported
    card = onnx_runtime.read_card(exported)
    refused = card.decisions["onnx-int8"].model_copy(update={"ships": False, "reasons": ("too few queries",)})
    card.model_copy(update={"decisions": card.decisions | {"onnx-int8": refused}}).write(exported.card)
    for tower in onnx_runtime.TOWERS:
        exported.tower(tower, runtime="onnx-int8").unlink()
    seal(package)
    monkeypatch.setattr(settings, "RUNTIME", "onnx-int8")
    with pytest.raises(ConfigError, match=r"onnx-int8 does not ship .*too few queries\. Use the runtime torch or onnx"):
        LoadedRelease.load(package.root, changes=None, decoders=1)
    monkeypatch.setattr(settings, "RUNTIME", "onnx")
    assert LoadedRelease.load(package.root, changes=None, decoders=1).ready()


def test_unknown_runtime_is_refused(monkeypatch):
    monkeypatch.setenv("ENTITYCLIP_RUNTIME", "tpu")
    with pytest.raises(ConfigError, match="'tpu'; expected one of torch, onnx, onnx-int8, distilled"):
        settings._runtime()


@pytest.mark.slow
def test_whole_bento_with_exported_towers_answers_as_pytorch(onnx_release, predictor, tmp_path, monkeypatch):
    store = StoreLayout(tmp_path / "store")
    source, release = onnx_release
    bento = build(source.root, release=release, data=source.data, store=store.root)
    file, picture = io.BytesIO(), tiny_picture("red", 1)
    picture.save(file, "PNG")
    near = TOLERANCE["onnx"]
    monkeypatch.setenv("ENTITYCLIP_RUNTIME", "onnx")
    with serving(bento.tag, store=store.root) as url, Client(url) as service:
        assert service.about().model.runtime == "onnx"
        found = service.search("KX-RED", target="entities", k=6).hits
        tags = service.tag(file.getvalue(), k=6).tags
        match = service.match(file.getvalue(), "KX-RED")
    expected = {hit.entity: hit.score for hit in predictor.search("KX-RED", target="entities", k=6)}
    assert {hit.entity: hit.score for hit in found} == pytest.approx(expected, abs=near)
    assert {tag.entity: tag.score for tag in tags} == pytest.approx(
        {tag.entity: tag.score for tag in predictor.tag(picture, k=6)}, abs=near
    )
    assert match.score == pytest.approx(predictor.similarity(picture, "KX-RED"), abs=near)
