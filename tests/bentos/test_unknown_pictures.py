"""A trained model in the service: pictures of the catalogue get sure tags, pictures of anything else do not."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callers import FROM_HERE
from PIL import Image
from prometheus_client import REGISTRY
from served import Released
from starlette.datastructures import State
from starlette.testclient import TestClient

from benchmarks.lib.unknown_pictures import unknown_pictures
from bentos.build.contents import lay_out
from bentos.runtime.active_release import Live
from entityclip.data import pairs
from entityclip.evaluation.calibrate import calibrate
from entityclip.model import checkpoint
from entityclip.paths import CheckpointLayout, DataLayout, Layout, PackageLayout, StateLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard
from entityclip.training import presets
from entityclip.training.trainer import fit

pytestmark = pytest.mark.slow
COLOURS = {"red": (200, 30, 30), "green": (30, 150, 50), "blue": (30, 60, 200), "yellow": (230, 210, 40)}
COLOURS |= {"white": (240, 240, 240), "black": (20, 20, 20), "orange": (240, 130, 20), "purple": (120, 40, 150)}
FLAGS = 60
SPLITS = ("train",) * 10 + ("val",) * 5 + ("test",) * 3


def flag(number: int) -> list[str]:
    """The four colours of a flag; no two flags have the same."""
    names = list(COLOURS)
    return [names[(number * step + shift) % 8] for step, shift in ((1, 0), (3, number // 8), (5, 2), (7, number // 4))]


def photograph(colours: list[str], rng: np.random.Generator) -> Image.Image:
    """The flag as four quarters, in some light, shifted a little."""
    quarters = np.array([COLOURS[name] for name in colours], np.uint8).reshape(2, 2, 3)
    picture = np.asarray(Image.fromarray(quarters).resize((40, 40), Image.Resampling.NEAREST), np.float32)
    picture = np.roll(picture, rng.integers(-3, 4, size=2), axis=(0, 1)) * rng.uniform(0.8, 1.1)
    return Image.fromarray(np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def flags(root: Path) -> DataLayout:
    """A data version of the flags."""
    data, rng = DataLayout(root), np.random.default_rng(0)
    pairs.start(data)
    entities: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    explanations: list[dict[str, Any]] = []
    for number in range(FLAGS):
        name, colours = f"FL-{100 + number}", flag(number)
        about = {"entity_id": pairs.entity_id(name), "entity": name, "language": "en"}
        entities.append(about | {"aliases": [], "category": "flag", "licence": "", "source": "t"})
        text = f"A flag whose quarters are {', '.join(colours)}."
        named = {"caption": name, "text": text, "generator": "source", "prompt_version": "1"}
        explanations.append(
            {k: about[k] for k in ("entity_id", "language")} | named | {"explanation_id": pairs.digest(name)}
        )
        for split in SPLITS:
            content = png(photograph(colours, rng))
            sha = pairs.digest(content, length=64)
            image = {"bytes": content, "path": f"{name}/{sha[:8]}.png"}
            row = {"pair_id": pairs.pair_id(sha, name, name), "image": image, "image_sha256": sha, "caption": name}
            rows.append(about | row | {"width": 40, "height": 40, "split": split, "category": "flag"})
    for split in ("train", "val", "test"):
        pairs.write_rows(data.pairs, pairs.PAIRS, [r for r in rows if r["split"] == split], name=split)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, explanations, name="explanations")
    pairs.finish(data, pairs=len(rows))
    return data


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, released: Released) -> Layout:
    """A workspace with the flags and a model that was trained on them and calibrated."""
    layout = Layout(tmp_path_factory.mktemp("flags") / "release")
    shutil.copytree(released.layout.reports, layout.reports)
    data = flags(layout.data.root)
    config = presets.tiny().train.model_copy(update={"epochs": 16, "learning_rate": 3e-3})
    run = layout.run("flags")
    fit(config, data=data, data_hash="flags", run=run, report=lambda *_: None, progress=False)
    model = checkpoint.load(run.checkpoint)
    calibrate(model, data).write(run.checkpoint.card)
    run.checkpoint.root.rename(layout.model.root)
    return layout


@pytest.fixture(scope="module")
def client(
    trained: Layout, released: Released, store_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The service of that model."""
    from bentos.service import EntityClip, pages

    folder = tmp_path_factory.mktemp("served")
    package, state = PackageLayout(folder / "package"), StateLayout(folder / "state")
    fingerprint = checkpoint.load(CheckpointLayout(trained.model.root)).card.fingerprint
    release = released.release.model_copy(update={"version": "v2.0.0", "model_fingerprint": fingerprint})
    lay_out(package, trained, trained.data, PackageCard(release=release, suite_hash="", licences=()))
    state.root.mkdir(mode=0o700)
    Live(champion=package.root).write(state.live)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENTITYCLIP_STATE", str(state.root))
        patch.setattr(pages, "state", State())  # another service in this process goes on with its own
        with metrics_of_its_own(), TestClient(EntityClip.to_asgi(), **FROM_HERE) as client:
            yield client


@contextmanager
def metrics_of_its_own() -> Iterator[None]:
    """Two services in one process would register the same metrics of BentoML."""

    def collectors() -> set[Any]:
        known = REGISTRY._names_to_collectors.items()
        return {collector for name, collector in known if name.startswith("bentoml_")}

    others = collectors()
    for collector in others:
        REGISTRY.unregister(collector)
    try:
        yield
    finally:
        for collector in collectors():
            REGISTRY.unregister(collector)
        for collector in others:
            REGISTRY.register(collector)


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Image.Image]]:
    """Pictures of nothing that is in the catalogue, by kind."""
    return unknown_pictures(tmp_path_factory.mktemp("unknown") / "foreign", count=40, seed=11)


def sure(client: TestClient, images: list[Image.Image]) -> float:
    """Share of the pictures that get a sure tag at target precision 0.9."""
    answers = [client.post("/tag", files={"image": ("p.png", png(image), "image/png")}).json() for image in images]
    assert {answer["release"] for answer in answers} == {"v2.0.0"}
    for answer in answers:
        assert answer["unknown"] is not any(tag["above_threshold"] for tag in answer["tags"])
    return float(np.mean([not answer["unknown"] for answer in answers]))


def test_pictures_of_the_catalogue_are_known(client: TestClient) -> None:
    rng = np.random.default_rng(1)
    assert sure(client, [photograph(flag(number), rng) for number in range(FLAGS)]) >= 0.5


@pytest.mark.parametrize("kind", ["catalogue", "mosaic", "noise", "code"])
def test_pictures_of_anything_else_are_unknown(
    client: TestClient, unknown: dict[str, list[Image.Image]], kind: str
) -> None:
    assert sure(client, unknown[kind]) <= 0.1


def test_the_confidence_alone_takes_them_for_known(trained: Layout, unknown: dict[str, list[Image.Image]]) -> None:
    model = checkpoint.load(CheckpointLayout(trained.model.root))
    model = replace(model, card=model.card.model_copy(update={"open_set": None}))
    pictures = PictureIndex.build(model, trained.data)
    predictor = Predictor(model, EntityIndex.build(model, trained.data, pictures=pictures), pictures)
    for images in unknown.values():
        assert np.mean([any(tag.above_threshold for tag in predictor.tag(image)) for image in images]) > 0.5
