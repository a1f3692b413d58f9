"""A package that holds exported towers, and the service on it: chosen by ENTITYCLIP_RUNTIME, or refused."""

import io
import shutil
from pathlib import Path

import pytest
from tiny import tiny_picture

from bentos import settings
from bentos.client import Client
from bentos.package import lay_out
from bentos.running.releases import Release
from bentos.smoke import TOLERANCE, serving
from entityclip.errors import CheckpointError, ConfigError
from entityclip.layout import Layout, PackageLayout, StoreLayout
from entityclip.predict import Predictor
from entityclip.records import PackageCard

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

SERVICE = "bentos.service:EntityClip"


@pytest.fixture(scope="module")
def onnx_package(tmp_path_factory, released) -> PackageLayout:
    """A package of a release whose settings ask for exported towers."""
    root = tmp_path_factory.mktemp("onnx")
    shutil.copytree(released.layout.root, root / "release")
    source = Layout(root / "release")
    source.config.write_text("service: {onnx: true}\n")
    package = PackageLayout(root / "package")
    lay_out(package, source, source.data, PackageCard(release=released.release, suite_hash="suite", licences=("MIT",)))
    return package


@pytest.fixture(scope="module")
def onnx_store(tmp_path_factory, store_home: Path, onnx_package) -> Path:
    """BENTOML_HOME with that package as the model that the service serves."""
    store = tmp_path_factory.mktemp("store") / "home"
    shutil.copytree(store_home, store)
    shutil.copytree(onnx_package.root, StoreLayout(store).model("none").root, dirs_exist_ok=True)
    return store


def test_release_whose_settings_ask_for_it_has_exported_towers_in_its_package(onnx_package, package):
    assert onnx_package.checkpoint.exported.card.is_file()
    assert not package.checkpoint.exported.root.exists()


@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
def test_predictor_on_exported_towers_scores_as_pytorchs(onnx_package, predictor, runtime):
    exported, picture = Predictor.load(onnx_package.root, runtime=runtime), tiny_picture("red", 1)
    assert exported.about().runtime == runtime
    assert exported.match(picture, "KX-RED") == pytest.approx(
        predictor.match(picture, "KX-RED"), abs=TOLERANCE[runtime]
    )
    assert exported.search("KX-RED", of="entities", k=1)[0].exact


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
        Release.load(package.root, changes=None, decoders=1)


def test_unknown_runtime_is_refused(monkeypatch):
    monkeypatch.setenv("ENTITYCLIP_RUNTIME", "tpu")
    with pytest.raises(ConfigError, match="'tpu'; expected one of torch, onnx, onnx-int8"):
        settings._runtime()
