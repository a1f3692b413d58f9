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
from entityclip.paths import DataLayout, Layout, claims_beside
from entityclip.quality.claims.claim_model import fit_claim_model
from entityclip.quality.claims.exchange import OVER_LIMIT
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.fit_text_quality import fit_text_quality
from entityclip.quality.text_quality_model import TextQualityModel
from expectations.check import GateScorers, check, copy_context
from expectations.gate_scorers import NO_CLAIM_MODEL, NO_TEXT_QUALITY_MODEL


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("catalog"))
    source = CatalogSource(made.drawn, products=24, faults=False)
    ingest(source, staging=made.staging, rejected=made.rejected("b"), progress=False)
    explain(made.staging, writer=SourceWriter(), ledger=made.ledger)
    copy_context(made.expectations)
    return made


@pytest.mark.slow
def test_a_champion_that_knows_nothing_refuses_nothing_and_its_rules_run(layout: Layout, tmp_path: Path) -> None:
    """Random weights do not distinguish pictures: no batch may be refused for that."""
    model = tiny_model(tmp_path / "model")
    text_quality = fit_text_quality(model, layout.staging)
    assert text_quality.learned_from["judge"] == model.card.fingerprint
    where = {"accepted": layout.accepted, "quarantine": layout.quarantine("b"), "context_root": layout.expectations}
    claims = fit_claim_model(model, layout.staging, vocabulary=read_vocabulary(), most_texts=1200)
    scorers = GateScorers(model, text_quality, claim_model=claims, max_exchanged_texts=300)
    report = check(layout.staging, **where, scorers=scorers)  # type: ignore[arg-type]
    assert not report.refused
    assert not any(rule.skipped for rule in report.rules)
    table = pd.read_parquet(claims_beside(layout.quarantine("b")))
    counts = {count.attribute: count.model_dump(exclude={"attribute"}) for count in report.claims}
    assert {"colour", "pattern", "part", "label"} <= counts.keys()
    assert sum(sum(of.values()) for of in counts.values()) == len(table) > 400
    assert (table["reason"] == OVER_LIMIT).mean() > 0.1
    page = Path(report.validation_page or "").read_text(encoding="utf-8")
    assert 'src="data:image/jpeg;base64,' in page
    assert page.count("not checkable") > 5
    low_text_quality = next(rule for rule in report.rules if rule.rule == "low_text_quality")
    assert low_text_quality.checked > low_text_quality.failed
    without = check(layout.staging, **where, scorers=GateScorers(model))  # type: ignore[arg-type]
    skipped = {rule.rule: rule.skipped for rule in without.rules if rule.skipped}
    assert skipped.pop("low_text_quality") == NO_TEXT_QUALITY_MODEL
    assert skipped == dict.fromkeys(("contradicted_claim", "unusual_claim"), NO_CLAIM_MODEL)
    assert not claims_beside(layout.quarantine("b")).exists()


def test_text_quality_needs_more_than_a_handful_of_entities(layout: Layout, tmp_path: Path) -> None:
    texts = pairs.read_frame(layout.staging.explanations)
    few = DataLayout(tmp_path / "few")
    with_explanations(layout.staging, texts[texts["entity_id"].isin(texts["entity_id"].unique()[:4])], into=few)
    with pytest.raises(ConfigError, match="inject more faults, or provide more data"):
        fit_text_quality(tiny_model(tmp_path / "model"), few)


def test_what_was_learned_is_kept_as_json_with_its_curve(layout: Layout, tmp_path: Path) -> None:
    text_quality = fit_text_quality(tiny_model(tmp_path / "model"), layout.staging)
    text_quality.write(layout.text_quality)
    assert TextQualityModel.read(layout.text_quality) == text_quality
    assert pd.DataFrame([point.model_dump() for point in text_quality.curve])["caught"].between(0, 1).all()
