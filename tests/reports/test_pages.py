"""No page of ours takes user text for HTML, runs a script, or lets a request leave the machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from browser import HOSTILE, require_harmless, visit
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.experiments.gate_report import write_gate_page
from entityclip.monitoring.drift import DriftPolicy, DriftReport, DriftTest
from entityclip.paths import ReviewLayout
from entityclip.quality.review import export_review
from entityclip.reports.examples import Candidate, RetrievalExample
from entityclip.reports.pages import write_page
from entityclip.reports.run_report import ReportContent, RunFacts, StageFact, write_report
from entityclip.schemas import IngestReport

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def harmless(program: Callable[..., Path], tmp_path: Path) -> Callable[[Path], None]:
    chromium = program("chromium", package="chromium")
    return lambda page: require_harmless(visit(chromium, page, profile=tmp_path / "profile"))


def test_the_browser_of_these_tests_sees_scripts_and_requests(program: Callable[..., Path], tmp_path: Path) -> None:
    page = tmp_path / "open.html"
    page.write_text(f"<!doctype html><title>x</title>{HOSTILE.partition('<style>')[0]}")
    seen = visit(program("chromium", package="chromium"), page, profile=tmp_path / "profile")
    assert "pwned" in seen.dom
    assert any("evil.example" in request for request in seen.requests)


def test_the_report_of_a_run_shows_hostile_text_as_text(harmless: Callable[[Path], None], tmp_path: Path) -> None:
    rejected = tmp_path / "rejected.csv"
    pd.DataFrame({"file": [HOSTILE], "row": ["1"], "reason": [HOSTILE]}).to_csv(rejected, index=False)
    who = Candidate(entity=HOSTILE, score=0.5, explanation=HOSTILE, picture=None)
    content = ReportContent(
        facts=RunFacts(finished=NOW, stages=(StageFact(name=HOSTILE, seconds=1.0, reused=True, reason=HOSTILE),)),
        ingest=IngestReport(source=HOSTILE, pairs=1, entities=1, rejected=1, rejected_file=str(rejected), seconds=1.0),
        examples=[RetrievalExample(picture=b"", predicted=who, true=who, rank=2, slice="none")],
        commands={HOSTILE: HOSTILE},
    )
    write_report(tmp_path / "report.html", content)
    harmless(tmp_path / "report.html")


def test_the_page_of_a_review_shows_hostile_text_as_text(harmless: Callable[[Path], None], tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    (text, *_) = pairs.iter_rows(data.explanations)
    line = {"table": "explanations", "id": text["explanation_id"], "rule": "markup", "value": HOSTILE}
    pd.DataFrame([line]).to_csv(tmp_path / "quarantine.csv", index=False)
    folder = ReviewLayout(tmp_path / "review")
    export_review(tmp_path / "quarantine.csv", data=data, to=folder)
    harmless(folder.page)


def test_the_drift_page_shows_hostile_text_as_text(harmless: Callable[[Path], None], tmp_path: Path) -> None:
    test = DriftTest(
        what=HOSTILE, test="KS", value=0.5, limit=0.3, p_value=0.0, drifted=True, reference=HOSTILE, current=HOSTILE
    )
    report = DriftReport(
        release="v1.0.0",
        data_hash="d",
        at=NOW,
        since=NOW,
        pictures=1,
        texts=1,
        tests=(test,),
        untested=(HOSTILE,),
        policy=DriftPolicy(),
    )
    write_page(tmp_path / "drift.html", "drift.html.j2", drift=report, plot=None)
    harmless(tmp_path / "drift.html")


def test_the_gate_report_shows_hostile_text_as_text(harmless: Callable[[Path], None], tmp_path: Path) -> None:
    figures = {"slice": ["all"], "value": [1.0], "low": [0.0], "high": [2.0]}
    write_gate_page(
        tmp_path / "gate.html",
        recall=pd.DataFrame({"variant": ["the gate on"], "texts": [1], **figures}),
        worth=pd.DataFrame({"rule": [HOSTILE], "rows": [1], "alone": [1], **figures}),
        spent=[],
        seeds=1,
        chosen=HOSTILE,
    )
    harmless(tmp_path / "gate.html")


def test_every_page_has_a_policy_that_allows_no_script_and_no_request() -> None:
    templates = sorted((Path(__file__).parents[2] / "entityclip" / "reports" / "templates").glob("*.html.j2"))
    assert len(templates) >= 5
    for template in templates:
        text = template.read_text(encoding="utf-8")
        assert "default-src 'none'" in text, template
        assert "base-uri 'none'; form-action 'none'" in text, template
        assert "script-src" not in text, template
        assert "| safe" not in text, template
