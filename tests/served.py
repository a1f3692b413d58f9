"""Fixtures: a promoted release of a tiny real model, and the service on it in this process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from callers import FROM_HERE
from promotion_reports import first_decision
from starlette.testclient import TestClient
from tiny import tiny_data, tiny_model

from bentos.build.contents import lay_out
from entityclip.paths import Layout, PackageLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard, Release

# BentoML reads these once, at its first import, so that a fixture would come too late.
os.environ["BENTOML_HOME"] = tempfile.mkdtemp(prefix="entityclip-tests-")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["ENTITYCLIP_KEYLESS"] = "local"
atexit.register(shutil.rmtree, os.environ["BENTOML_HOME"], ignore_errors=True)


class Released(NamedTuple):
    """A release as it is fetched from Git and DVC."""

    layout: Layout
    release: Release


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    layout = Layout(tmp_path_factory.mktemp("release"))
    tiny_data(layout.data.root)
    fingerprint = tiny_model(layout.model.root, thresholds={"0.9": 0.1}).card.fingerprint
    layout.reports.mkdir()
    layout.report("promotion").write_text(first_decision(fingerprint).model_dump_json())
    return Released(layout, Release(version="v1.0.0", commit="c" * 40, model_fingerprint=fingerprint, data_hash="data"))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, released: Released) -> PackageLayout:
    package = PackageLayout(tmp_path_factory.mktemp("packages") / "package")
    card = PackageCard(release=released.release, suite_hash="suite", licences=("MIT",))
    lay_out(package, released.layout, released.layout.data, card)
    return package


@pytest.fixture(scope="session")
def predictor(package: PackageLayout) -> Predictor:
    return Predictor.load(package.root)


@pytest.fixture(scope="session")
def other_package(tmp_path_factory: pytest.TempPathFactory, released: Released) -> Path:
    """A package of v1.1.0: the same data, another model."""
    root = tmp_path_factory.mktemp("other")
    shutil.copytree(released.layout.root, root / "release")
    source = Layout(root / "release")
    fingerprint = tiny_model(source.model.root, seed=1).card.fingerprint
    release = released.release.model_copy(update={"version": "v1.1.0", "model_fingerprint": fingerprint})
    card = PackageCard(release=release, suite_hash="", licences=())
    lay_out(PackageLayout(root / "package"), source, source.data, card)
    return root / "package"


@pytest.fixture(scope="session")
def store_home(package: PackageLayout) -> Path:
    """BENTOML_HOME with the model that the service serves when no Bento names another."""
    import bentoml

    from bentos.service import Arguments

    tag = Arguments().model
    if tag not in {str(model.tag) for model in bentoml.models.list()}:  # each folder of tests has its own fixtures
        with bentoml.models.create(tag) as model:
            shutil.copytree(package.root, model.path, dirs_exist_ok=True)
    return Path(os.environ["BENTOML_HOME"])


@pytest.fixture(scope="session")
def client(store_home: Path) -> Iterator[TestClient]:
    """The service in this process."""
    from bentos.service import EntityClip

    with TestClient(EntityClip.to_asgi(), **FROM_HERE) as client:
        yield client
