"""The model in service looks at a batch: texts under the wrong entity are found by the pictures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_model

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.variants import with_explanations
from entityclip.errors import ConfigError
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import DataLayout, Layout
from entityclip.quality.fit_text_quality import learn_soundness
from entityclip.quality.text_quality_model import SoundnessModel
from expectations.check import Judges, check, copy_context
from expectations.judges import NO_SOUNDNESS


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("catalog"))
    source = CatalogSource(made.drawn, products=24, faults=False)
    ingest(source, staging=made.staging, rejected=made.rejected("b"), progress=False)
    explain(made.staging, writer=SourceWriter(), ledger=made.ledger)
    copy_context(made.expectations)
    return made


def test_a_champion_that_knows_nothing_refuses_nobody_and_its_rules_run(layout: Layout, tmp_path: Path) -> None:
    """Random weights tell no picture from another: no batch may be refused for that."""
    model = tiny_model(tmp_path / "model")
    soundness = learn_soundness(model, layout.staging)
    assert soundness.learned_from["judge"] == model.card.fingerprint
    where = {"accepted": layout.accepted, "quarantine": layout.quarantine("b"), "context_root": layout.expectations}
    report = check(layout.staging, **where, judges=Judges(model, soundness))  # type: ignore[arg-type]
    assert not report.refused
    assert not any(rule.skipped for rule in report.rules)
    unsound = next(rule for rule in report.rules if rule.rule == "unsound")
    assert unsound.checked > unsound.failed
    without = check(layout.staging, **where, judges=Judges(model))  # type: ignore[arg-type]
    assert [rule.skipped for rule in without.rules if rule.skipped] == [NO_SOUNDNESS]


def test_soundness_needs_more_than_a_handful_of_entities(layout: Layout, tmp_path: Path) -> None:
    texts = pairs.read_frame(layout.staging.explanations)
    few = DataLayout(tmp_path / "few")
    with_explanations(layout.staging, texts[texts["entity_id"].isin(texts["entity_id"].unique()[:4])], into=few)
    with pytest.raises(ConfigError, match="plant more faults, or bring more data"):
        learn_soundness(tiny_model(tmp_path / "model"), few)


def test_what_was_learned_is_kept_as_json_with_its_curve(layout: Layout, tmp_path: Path) -> None:
    soundness = learn_soundness(tiny_model(tmp_path / "model"), layout.staging)
    soundness.write(layout.soundness)
    assert SoundnessModel.read(layout.soundness) == soundness
    assert pd.DataFrame([point.model_dump() for point in soundness.curve])["caught"].between(0, 1).all()
