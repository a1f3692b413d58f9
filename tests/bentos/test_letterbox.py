"""A model that letterboxes its pictures: training, evaluator, service and exported towers see the same ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from served import Released
from tiny import tiny_model

from bentos.build.contents import lay_out
from bentos.runtime.loaded_release import LoadedRelease
from entityclip.data import pairs
from entityclip.data.image_cache import open_pictures
from entityclip.data.images import decode
from entityclip.data.preprocessing import Preprocessing
from entityclip.model import checkpoint, onnx_runtime
from entityclip.paths import DecodedLayout, ExportedLayout, Layout, PackageLayout
from entityclip.retrieval.index import PictureIndex
from entityclip.schemas import PackageCard

HOW = Preprocessing(size=32, resize="letterbox")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, released: Released) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("letterbox") / "release")
    shutil.copytree(released.layout.root, layout.root)
    tiny_model(layout.model.root, preprocessing=HOW)
    return layout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, source: Layout, released: Released) -> PackageLayout:
    package = PackageLayout(tmp_path_factory.mktemp("package") / "package")
    fingerprint = checkpoint.load(source.model).card.fingerprint
    release = released.release.model_copy(update={"model_fingerprint": fingerprint})
    lay_out(package, source, source.data, PackageCard(release=release, suite_hash="", licences=()))
    return package


def uploads(layout: Layout) -> list[bytes]:
    """The test pictures, in the order of the evaluator; they are wider than high."""
    return [row["image"]["bytes"] for row in pairs.iter_rows(layout.data.pairs, name="test", columns=["image"])]


@pytest.mark.slow
def test_service_and_evaluator_give_the_same_vectors_of_letterboxed_pictures(
    source: Layout, package: PackageLayout, tmp_path: Path
) -> None:
    evaluator = PictureIndex.build(checkpoint.load(source.model), source.data, split="test", progress=False)
    release = LoadedRelease.load(package.root, changes=None, decoders=2)
    pictures = [release.decode(upload) for upload in uploads(source)]
    served = release.predictor.model.embed_images(picture for picture in pictures if picture is not None)
    assert np.allclose(served, evaluator.vectors, atol=1e-6)
    cropping = tiny_model(tmp_path, preprocessing=Preprocessing(size=32))
    cropped = PictureIndex.build(cropping, source.data, split="test", progress=False)
    assert not np.allclose(cropped.vectors, served, atol=1e-3)


def test_training_sees_what_the_service_sees(source: Layout, package: PackageLayout, tmp_path: Path) -> None:
    release = LoadedRelease.load(package.root, changes=None, decoders=2)
    served = [np.asarray(release.decode(upload)).transpose(2, 0, 1) for upload in uploads(source)]
    for most_bytes, cache in ((0, None), (10**9, DecodedLayout(tmp_path))):
        trained = open_pictures(
            source.data, split="test", preprocessing=HOW, cache=cache, most_bytes=most_bytes, progress=False
        )
        assert np.array_equal(trained.read(np.arange(len(trained))).numpy(), np.stack(served))


@pytest.mark.slow
def test_exported_towers_see_what_the_service_sees(source: Layout, package: PackageLayout, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from entityclip.evaluation.onnx_export import export

    model, to = checkpoint.load(source.model), ExportedLayout(tmp_path)
    export(model, source.data, to=to)
    pictures = [decode(upload) for upload in uploads(source)]
    release = LoadedRelease.load(package.root, changes=None, decoders=1)
    served = release.predictor.model.embed_images(pictures)
    assert np.allclose(onnx_runtime.on("onnx", model, to).embed_images(pictures), served, atol=1e-5)
