"""The gate of a first run, without a champion: a pretrained image tower compares texts with pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.explanations import SourceWriter, explain
from entityclip.explanations.stage import replace_texts
from entityclip.model.backbones import BackboneConfig
from entityclip.paths import Layout, claims_beside
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.tower_pictures import tower_at_hand
from entityclip.schemas import QualityReport, RuleResult
from expectations.check import GateScorers, check, copy_context

pytestmark = pytest.mark.slow
PRODUCTS, RANDOM = 160, 40


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The drawn catalogue, sound, with one text of each product."""
    layout = Layout(tmp_path_factory.mktemp("first"))
    source = CatalogSource(layout.drawn, products=PRODUCTS, faults=False)
    ingest(source, staging=layout.staging, rejected=layout.rejected("b"), progress=False)
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    texts = pairs.read_frame(layout.staging.explanations).groupby("entity_id", sort=False).head(1)
    replace_texts(layout.staging, texts.to_dict("records"))
    copy_context(layout.expectations)
    return layout


@pytest.fixture(scope="module")
def scorers(first: Layout) -> GateScorers:
    """As a first run has them; the pictures, which do not change here, are embedded once."""
    tower = tower_at_hand(BackboneConfig(), first.tower_vectors)
    assert tower is not None
    return GateScorers(tower=tower, vocabulary=read_vocabulary())


def gated(layout: Layout, scorers: GateScorers) -> QualityReport:
    return check(
        layout.staging,
        accepted=layout.accepted,
        quarantine=layout.quarantine("b"),
        context_root=layout.expectations,
        scorers=scorers,
    )


def low_text_quality(report: QualityReport) -> RuleResult:
    return next(rule for rule in report.rules if rule.rule == "low_text_quality")


def test_sound_texts_pass(first: Layout, scorers: GateScorers) -> None:
    report = gated(first, scorers)
    assert not report.refused, report.refusal
    assert low_text_quality(report).skipped is None
    assert low_text_quality(report).failed < 0.03 * PRODUCTS
    claims = pd.read_parquet(claims_beside(first.quarantine("b")))
    assert (claims["verdict"] == "contradicted").sum() <= 0.04 * PRODUCTS
    shares = claims.groupby("attribute")["verdict"].agg(lambda some: (some == "supported").mean())
    assert shares[["colour", "pattern"]].min() > 0.5


@pytest.mark.parametrize("kind", ["of other entities", "words in any order", "phrases that fit anything"])
def test_random_texts_are_refused(first: Layout, scorers: GateScorers, kind: str) -> None:
    sound = pairs.read_frame(first.staging.explanations)
    draw, texts = np.random.default_rng(0), sound["text"].to_numpy(copy=True)
    rows = draw.permutation(len(sound))[:RANDOM]
    words = " ".join(texts).split()
    texts[rows] = {
        "of other entities": np.roll(texts[rows], 1),
        "words in any order": [f"{' '.join(draw.choice(words, 20))}." for _ in rows],
        "phrases that fit anything": [f"A fine thing for daily use, liked by {n} people in the town." for n in rows],
    }[kind]
    replace_texts(first.staging, sound.assign(text=texts).to_dict("records"))
    try:
        report = gated(first, scorers)
    finally:
        replace_texts(first.staging, sound.to_dict("records"))
    assert report.refused
    assert low_text_quality(report).failed > 0.5 * RANDOM


@pytest.mark.parametrize("sound", [True, False])
def test_a_batch_of_forty_is_refused_where_every_text_is_random(
    first: Layout, scorers: GateScorers, *, sound: bool
) -> None:
    every = pairs.read_frame(first.staging.explanations)
    few = every[:RANDOM]
    texts = few["text"] if sound else np.random.default_rng(0).permutation(few["text"])
    replace_texts(first.staging, few.assign(text=texts).to_dict("records"))
    try:
        report = gated(first, scorers)
    finally:
        replace_texts(first.staging, every.to_dict("records"))
    assert report.refused != sound
    if not sound:
        assert "the texts fit their pictures no better than when they are exchanged at random" in (report.refusal or "")
        assert "set gate.judge_first_batch: false in entityclip.yaml" in (report.refusal or "")
