"""Quarantined texts return to the data, with the reason in the Git history."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import pandas as pd
import pytest
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.explanations import SourceWriter, WriterAnswer, WriterCost, record
from entityclip.paths import Layout
from entityclip.quality.review import Merged, Review, add_reviews
from entityclip.schemas import ExplanationRequest, QualityReport, RuleResult
from flows.steps import reprocess_quarantine
from flows.workspace.repository import Repository

pytestmark = pytest.mark.usefixtures("plain_log")


@pytest.fixture
def plain_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run here without Prefect around them, which alone has a run's logger."""
    monkeypatch.setattr(reprocess_quarantine, "get_run_logger", lambda: logging.getLogger("flows"))


class Improver:
    """Writes a better text when the prompt names the fault; it cannot improve texts about black discs."""

    generator = "improver-1"
    sees_pictures = False

    def __init__(self) -> None:
        self.requested: list[ExplanationRequest] = []

    def prompt_version(self, _: ExplanationRequest) -> str:
        return "v1"

    def expected(self, _: ExplanationRequest) -> WriterCost:
        return WriterCost()

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        for request in requests:
            self.requested.append(request)
            text = f"A disc, since {request.reason}"
            texts = () if "GREEN" in request.entity else (record(request, text, writer=self),)
            yield WriterAnswer(request=request, records=texts)


@pytest.fixture
def layout(workspace: Layout) -> Layout:
    """A workspace whose staging holds six entities and five texts; the gate set two texts aside."""
    tiny_data(workspace.staging.root)
    pairs.write_rows(workspace.staging.source_provided, pairs.SOURCE_PROVIDED, [], name="source_provided")
    red, green, *_ = pairs.iter_rows(workspace.staging.explanations)
    lines = [("explanations", red, "refusal", "As an AI"), ("explanations", red, "too_short", "2")]
    lines += [("explanations", green, "email", "a@b.example"), ("pairs", {"explanation_id": "p"}, "leak", "train")]
    rows = [{"table": t, "id": row["explanation_id"], "rule": rule, "value": value} for t, row, rule, value in lines]
    workspace.quarantine("b").parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(workspace.quarantine("b"), index=False)
    return workspace


def texts(layout: Layout) -> list[str]:
    return [row["text"] for row in pairs.iter_rows(layout.staging.explanations)]


def subjects(layout: Layout) -> list[str]:
    return Repository(layout.root).git("log", "--format=%s").splitlines()


def test_a_broken_text_is_written_again_with_the_reason_and_the_history_shows_it(layout: Layout) -> None:
    before, writer = texts(layout), Improver()
    assert reprocess_quarantine.ask_again.fn(layout, "b", writer) == 1
    assert [request.reason for request in writer.requested] == ["refusal: As an AI; too_short: 2", "email: a@b.example"]
    assert texts(layout) == [*before[2:], "A disc, since refusal: As an AI; too_short: 2"]
    assert subjects(layout)[0] == "Ask again for 2 texts that broke rules"
    kept = pd.read_csv(layout.written_again, keep_default_na=False)
    assert list(kept["rules"]) == ["refusal too_short", "email"]
    assert list(kept["text"]) == before[:2]
    assert list(kept["written_again"]) == ["A disc, since refusal: As an AI; too_short: 2", ""]


def test_the_same_batch_again_sends_no_request(layout: Layout) -> None:
    reprocess_quarantine.ask_again.fn(layout, "b", Improver())
    tiny_data(layout.staging.root)
    pairs.write_rows(layout.staging.source_provided, pairs.SOURCE_PROVIDED, [], name="source_provided")
    commits, second = subjects(layout), Improver()
    assert reprocess_quarantine.ask_again.fn(layout, "b", second) == 1
    assert second.requested == []
    assert subjects(layout) == commits


def test_a_sound_batch_and_a_source_text_send_no_request(layout: Layout) -> None:
    assert reprocess_quarantine.to_write_again(layout, "b", Improver())
    assert not reprocess_quarantine.to_write_again(layout, "b", SourceWriter())
    assert not reprocess_quarantine.to_write_again(layout, "sound", Improver())


def reviewed(layout: Layout, *decisions: str) -> None:
    rows = pairs.iter_rows(layout.staging.explanations)
    edits = {"edit": {"edited_text": "A red disc."}}
    reviews = [
        Review.model_validate(
            {key: row[key] for key in ("explanation_id", "entity_id", "text")}
            | {"entity": "x", "rules": "refusal", "decision": decision, "reviewer": "Ana", "minutes": 1}
            | {"day": "2026-11-01"}
            | edits.get(decision, {})
        )
        for row, decision in zip(rows, decisions, strict=False)
    ]
    add_reviews(layout.reviews, reviews)


def test_decisions_are_committed_once_and_take_effect_in_every_run(layout: Layout) -> None:
    before = texts(layout)
    reviewed(layout, "edit", "reject", "accept")
    done = reprocess_quarantine.merge_reviews.fn(layout)
    assert (done.edited, done.rejected, done.accepted) == (1, 1, 1)
    assert texts(layout) == ["A red disc.", *before[2:]]
    assert subjects(layout)[0] == "Reviews by Ana: 1 accept, 1 edit, 1 reject"
    commits = subjects(layout)
    assert reprocess_quarantine.merge_reviews.fn(layout) == Merged()
    tiny_data(layout.staging.root)
    assert reprocess_quarantine.merge_reviews.fn(layout) == done
    assert subjects(layout) == commits


def test_without_reviews_nothing_is_touched(layout: Layout) -> None:
    commits = subjects(layout)
    assert reprocess_quarantine.merge_reviews.fn(layout) == Merged()
    assert subjects(layout) == commits


def test_the_data_versions_commit_shows_the_way_of_its_rows() -> None:
    rule = RuleResult(
        suite="explanations", rule="email", column="email", severity="critical", passed=False, checked=9, failed=3
    )
    quality = QualityReport(
        accepted_pairs=9, accepted_explanations=6, quarantined_pairs=0, quarantined_explanations=3,
        quarantine_file=None, refused=False, rules=(rule,), suite_hash="", validation_page=None,
    )  # fmt: skip
    merged = Merged(accepted=1, edited=2, reviewers=("Ana", "Ben"))
    assert reprocess_quarantine.summary("shop", quality, merged, 4).splitlines() == [
        "Data from shop: 9 pairs",
        "",
        "Set aside: email 3",
        "Written again: 4",
        "Reviewed by Ana, Ben: 1 accepted, 2 edited, 0 rejected",
    ]
    sound = quality.model_copy(update={"rules": ()})
    assert reprocess_quarantine.summary("shop", sound, Merged(), 0) == "Data from shop: 9 pairs"


def test_a_colour_that_the_source_contradicts_is_corrected_and_the_history_shows_it(layout: Layout) -> None:
    red, green, *_ = rows = list(pairs.iter_rows(layout.staging.explanations))
    rows[0] = red | {"text": "A disc; its lid is green."}
    pairs.write_rows(layout.staging.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    said = {"entity_id": red["entity_id"], "text": "The lid is red.", "language": "en", "row": 1}
    pairs.write_rows(layout.staging.source_provided, pairs.SOURCE_PROVIDED, [said], name="source_provided")
    first = reprocess_quarantine.correct_colours.fn(layout)
    assert texts(layout)[:2] == ["A disc; its lid is red.", green["text"]]
    assert subjects(layout)[0] == "Colours in 1 texts corrected by the source"
    assert pd.read_csv(layout.corrected)["why"].tolist() == ["lid: green -> red"]
    both = reprocess_quarantine.correct_colours.fn(layout, first)
    assert len(both) == 1
    commits = len(subjects(layout))
    assert reprocess_quarantine.correct_colours.fn(layout).empty
    assert len(subjects(layout)) == commits
