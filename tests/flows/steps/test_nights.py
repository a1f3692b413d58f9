"""Real nights in small: real trainings, calibrations and evaluations, the real decision, registry and looks.

Packaging and service are left out. ``benchmarks/nights.py`` runs whole nights.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterator

import pandas as pd
import pytest
from PIL import Image
from prefect.logging import disable_run_logger

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.evaluation import promotion
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision
from entityclip.settings import read_config
from entityclip.training import TrainConfig, presets, run_key
from flows.steps import model, release
from flows.steps.model import TrainedModel
from flows.workspace import versions
from flows.workspace.registry import assign_champion, champion

pytestmark = pytest.mark.slow
ENTITIES = 24
SPLITS = ("train",) * 4 + ("val",) + ("test",) * 3


class Tiles:
    """Products that differ in their colour alone."""

    name, language = "tiles", "en"

    def fingerprint(self) -> str:
        return pairs.digest(str(ENTITIES))

    def __len__(self) -> int:
        return ENTITIES * len(SPLITS)

    def entities(self) -> Iterator[EntityRow]:
        yield from ()

    def pictures(self) -> Iterator[PictureRow]:
        for number in range(ENTITIES):
            for shot, split in enumerate(SPLITS):
                row, name = number * len(SPLITS) + shot + 1, f"tile {number}"
                data = _tile(hue=number / ENTITIES, light=0.8 + 0.02 * shot)
                yield PictureRow(
                    file=f"{row}.png",
                    row=row,
                    data=data,
                    caption=name,
                    entity=name,
                    split=split,
                    explanations=(f"A plain square, number {number}.",),
                )


def _tile(*, hue: float, light: float) -> bytes:
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 1.0 if hue < 0.5 else 0.6, light))
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def data_hash(workspace: Layout) -> str:
    ingest(Tiles(), staging=workspace.staging, rejected=workspace.rejected("tiles"), progress=False)
    explain(workspace.staging, writer=SourceWriter(), ledger=workspace.ledger, progress=False)
    return versions.version_data(workspace, workspace.staging, message="Tiles").data_hash


def night(layout: Layout, config: TrainConfig, data_hash: str) -> PromotionDecision:
    """Train, calibrate, evaluate, decide, and release a model that won."""
    key = run_key(config, data_hash=data_hash)
    run = layout.run(key)
    with disable_run_logger():
        model.train_model.fn(config, layout, run, data_hash, processes=1)
        card = model.calibrate_model.fn(layout, run)
        evaluation = model.evaluate_model.fn(layout, run)
        trained = TrainedModel(run=key, card=card, evaluation=evaluation, stages=())
        policy = read_config(layout.config).promotion
        decision = promotion.decide(
            evaluation,
            release.measured_champions(layout, trained, count=policy.compared_champions),
            policy=policy,
            data_hash=data_hash,
            suite_hash="suite",
            queries=pd.read_parquet(run.queries),
            looks=release.challengers_compared(layout, card.fingerprint),
        )
    if decision.promoted:
        reports = {"card": card, "evaluation": evaluation}
        made = versions.release(layout, checkpoint=run.checkpoint, reports=reports, decision=decision)
        assign_champion(layout, made.version, message=decision.reasons[0])
    else:
        versions.record_decision(layout, decision)
    return decision


def test_nights_without_progress_keep_the_champion_and_a_better_model_wins(workspace: Layout, data_hash: str) -> None:
    """Models that learned next to nothing differ by their seeds alone; one that learned is better by far.

    By their names alone: next to a product's photographs, random weights recognise a colour, too.
    """
    workspace.config.write_text("promotion: {index: caption, require_above_chance: false, seed_deviation: 5}\n")
    weak = presets.tiny().train.changed(epochs=1, learning_rate=1e-5)
    strong = presets.tiny().train.changed(epochs=40, learning_rate=3e-3)

    first, *same = (night(workspace, weak.changed(seed=seed), data_hash) for seed in range(3))
    assert first.promoted
    assert len({first.challenger, *(decision.challenger for decision in same)}) == 3
    assert [decision.promoted for decision in same] == [False] * 2
    assert [decision.gain.looks for decision in same if decision.gain] == [1, 2]

    better = night(workspace, strong.changed(seed=4), data_hash)
    assert better.promoted, better.reasons
    assert better.gain is not None
    assert better.gain.points > 20
    assert better.gain.looks == 3

    after = night(workspace, strong.changed(seed=5), data_hash)
    assert not after.promoted, after.reasons
    current = champion(workspace)
    assert current is not None
    assert (current.version, current.model_fingerprint) == ("v1.1.0", better.challenger)
