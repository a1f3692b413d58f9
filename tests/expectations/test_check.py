from __future__ import annotations

import html
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_batch import Batch

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource, injected_faults
from entityclip.errors import DataError
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import DataLayout, Layout
from entityclip.quality import score_explanations
from entityclip.quality.quarantine_file import broken_texts
from expectations.check import GateScorers, check, copy_context
from expectations.gate_scorers import Scored

pytestmark = pytest.mark.slow


def lines(batch: Batch) -> pd.DataFrame:
    return pd.read_csv(batch.quarantine, keep_default_na=False)


def test_a_sound_batch_passes_whole_with_its_pictures_and_texts(batch: Batch) -> None:
    report = batch.gate()
    assert (report.refused, report.accepted_pairs, report.accepted_explanations) == (False, 40, 40)
    failed = {rule.rule for rule in report.rules if not (rule.passed or rule.skipped)}
    assert failed == {"nothing_to_compare"}  # each product has one text, and its caption is its name
    assert not batch.quarantine.exists()
    assert report.validation_page is not None
    assert Path(report.validation_page).name == "validation.html"
    assert Path(report.validation_page).is_file()
    assert pairs.require_complete(batch.accepted)["pairs"] == 40
    accepted = {row["pair_id"]: row for row in pairs.iter_rows(batch.accepted.pairs)}
    for picture, text in zip(batch.pictures, batch.texts, strict=True):
        row = accepted[picture["pair_id"]]
        assert row["image"] == picture["image"]
        assert row["explanation"] == text["text"]
        assert row["split"] == picture["split"]


def test_broken_rows_are_quarantined_with_rule_value_and_origin(batch: Batch) -> None:
    batch.pictures[0]["caption"] = " "
    batch.texts[5]["text"] += " Ask sales@shop.example, or \0 💡."
    report = batch.gate()
    assert not report.refused
    assert (report.quarantined_pairs, report.quarantined_explanations) == (1, 1)
    table = lines(batch)
    assert list(table["rule"]) == ["caption_missing", "email", "control"]
    assert list(table["row"].astype(int)) == [1, 6, 6]
    assert list(table["file"]) == ["0.jpg", "", ""]
    assert list(table["entity"]) == ["KX-100B", "KX-105B", "KX-105B"]
    assert table["value"][1] == "sales@shop.example"
    accepted = {row["entity"]: row["explanation"] for row in pairs.iter_rows(batch.accepted.pairs)}
    assert "KX-100B" not in accepted
    assert accepted["KX-105B"] is None
    assert len(pairs.read_frame(batch.accepted.entities)) == 40


def test_identical_rows_are_distinguished_by_their_place(batch: Batch) -> None:
    batch.pictures.append(dict(batch.pictures[0]))
    report = batch.gate()
    assert (report.accepted_pairs, report.quarantined_pairs) == (40, 1)
    assert list(lines(batch)["rule"]) == ["picture_twice"]


def test_near_duplicates_warn_and_are_quarantined_where_the_suite_says_critical(batch: Batch) -> None:
    seen, other = batch.pictures[3], batch.pictures[7]
    assert seen["split"] == other["split"] == "test"
    seen["entity_id"] = batch.pictures[0]["entity_id"]
    near = [(batch.pictures[0], seen), (batch.pictures[1], other)]
    rows = [
        {"image_sha256": a["image_sha256"], "near_sha256": b["image_sha256"], "kind": "near duplicate"} for a, b in near
    ]
    batch.write()
    pairs.write_rows(batch.staging.near_duplicates, pairs.NEAR_DUPLICATES, rows, name="near_duplicates")
    report = batch.judge()
    found = {rule.rule: (rule.severity, rule.failed) for rule in report.rules if rule.suite == "pairs" and rule.failed}
    assert found == {"near_leak": ("warning", 1), "near_duplicate_of_another_entity": ("warning", 2)}
    assert report.accepted_pairs == 40
    assert len(pairs.read_frame(batch.accepted.near_duplicates)) == 2
    suite = batch.suite("pairs")
    written = json.loads(suite.read_text())
    (rule,) = [r for r in written["expectations"] if r["meta"]["rule"] == "near_leak"]
    rule["severity"] = "critical"
    suite.write_text(json.dumps(written))
    assert batch.judge().accepted_pairs == 39
    assert list(lines(batch)["id"]) == [seen["pair_id"]]
    assert len(pairs.read_frame(batch.accepted.near_duplicates)) == 1


def test_a_repaired_batch_leaves_no_trace_of_the_quarantine(batch: Batch) -> None:
    caption, batch.pictures[0]["caption"] = batch.pictures[0]["caption"], ""
    batch.gate()
    assert batch.quarantine.exists()
    batch.pictures[0]["caption"] = caption
    assert batch.gate().quarantine_file is None
    assert not batch.quarantine.exists()


def test_too_many_broken_rows_refuse_the_batch_and_nothing_can_be_read(batch: Batch) -> None:
    batch.gate()
    for text in batch.texts[:5]:
        text["text"] = "As an AI language model I cannot describe this product."
    report = batch.gate()
    assert report.refused
    assert (
        report.refusal == "5 of 40 explanations break critical rules; the limit is 10%: refusal 5, one_text_for_many 5"
    )
    assert (report.accepted_pairs, report.quarantined_explanations) == (0, 5)
    assert lines(batch)["id"].nunique() == 5
    assert Path(report.validation_page or "").is_file()
    with pytest.raises(DataError, match="half-written"):
        pairs.require_complete(batch.accepted)


def test_one_row_is_enough_and_no_explanation_only_warns(batch: Batch) -> None:
    del batch.pictures[1:], batch.texts[:]
    report = batch.gate()
    assert (report.refused, report.accepted_pairs) == (False, 1)
    failed = [(rule.suite, rule.rule, rule.severity) for rule in report.rules if not (rule.passed or rule.skipped)]
    assert failed == [("explanations", "rows", "warning")]


def test_a_batch_without_the_caption_column_is_refused(batch: Batch) -> None:
    batch.write()
    for path in pairs.shards(batch.staging.pairs):
        pq.write_table(pq.read_table(path).drop_columns("caption"), path)
    report = batch.judge()
    assert report.refused
    failed = {rule.rule: rule for rule in report.rules if rule.suite == "pairs" and not rule.passed}
    assert "caption" in (failed["scores"].error or "")
    assert {"columns", "caption_missing"} <= failed.keys()
    assert Path(report.validation_page or "").is_file()
    assert not batch.accepted.marker.exists()


@pytest.mark.parametrize("column", ["text", "entity_id", "generator"])
def test_a_batch_without_a_column_of_explanations_is_refused_in_a_few_words(batch: Batch, column: str) -> None:
    batch.write()
    for path in pairs.shards(batch.staging.explanations):
        pq.write_table(pq.read_table(path).drop_columns(column), path)
    report = batch.judge()
    assert report.refused
    assert "explanations: rule columns failed" in (report.refusal or "")
    assert len(report.refusal or "") < 1200
    if column != "generator":  # which no score reads
        assert f"scores could not be computed: KeyError: '{column}'; the columns are " in (report.refusal or "")


def test_a_text_that_stops_the_scorer_is_named_once_with_a_traceback_in_the_log(
    batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    batch.write()

    def broken_rule(text: str, _: str) -> str | None:
        return [][1] if "with 7 white dots" in text else None  # a rule of the domain with a mistake in it

    class Careless(GateScorers):
        def score(self, written: pd.DataFrame, staging: DataLayout) -> Scored:
            return Scored(score_explanations(written, pairs.read_frame(staging.entities), broken_rule=broken_rule))

    report = batch.judge(scorers=Careless())
    assert report.refused
    assert (report.refusal or "").count("could not be") == 1
    assert f"explanation {batch.texts[7]['explanation_id']} of entity" in (report.refusal or "")
    assert [rule.rule for rule in report.rules if rule.error] == ["scores"]
    reasons = {rule.skipped for rule in report.rules if rule.rule in ("email", "too_short")}
    assert reasons == {"the scores could not be computed"}
    assert "broken_rule" in caplog.text
    assert "IndexError" in caplog.text


def test_what_the_writer_doubts_and_what_no_label_shows_are_warnings_or_faults_as_the_suite_says(batch: Batch) -> None:
    batch.texts[3]["doubts"] = "the material; the number of dots"
    batch.texts[5]["text"] += ' Its label says "Apelsin".'
    report = batch.gate()
    (found,) = (rule for rule in report.rules if rule.rule == "writer_doubts")
    assert (found.failed, found.severity, report.quarantined_explanations) == (1, "warning", 0)
    assert "the number of dots" in Path(report.validation_page or "").read_text(encoding="utf-8")
    suite = json.loads(batch.suite("explanations").read_text())
    next(rule for rule in suite["expectations"] if rule["meta"]["rule"] == "writer_doubts")["severity"] = "critical"
    batch.suite("explanations").write_text(json.dumps(suite))
    batch.write()
    read = [{"image_sha256": p["image_sha256"], "lines": ["ARLA"], "reader": "1"} for p in batch.pictures]
    pairs.write_rows(batch.staging.labels, pairs.LABELS, read, name="labels")
    report = batch.judge()
    assert report.quarantined_explanations == 1
    assert lines(batch)[["rule", "value"]].to_numpy().tolist() == [["writer_doubts", batch.texts[3]["doubts"]]]
    (label,) = (rule for rule in report.rules if rule.rule == "not_on_label")
    assert (label.failed, label.severity) == (1, "warning")
    page = html.unescape(Path(report.validation_page or "").read_text(encoding="utf-8"))
    assert '"Apelsin"; read on 1 picture: ARLA' in page
    assert len(pairs.read_frame(batch.accepted.labels)) == 40


def test_rubbish_is_quarantined_by_name_and_can_be_read_back(batch: Batch) -> None:
    rubbish = {
        "control": "A red kettle\0 with a lid, a base and a label.",
        "too_long": "word " * 200_000,
        "too_short": "\U0001f600" * 30,
        "wrong_language": "ברז אדום עם מכסה ובסיס וכתם לבן.",
    }
    for row, text in zip(batch.texts, rubbish.values(), strict=False):
        row["text"] = text
    report = batch.gate()
    broken = broken_texts(batch.quarantine)
    assert (report.refused, report.accepted_explanations) == (False, 36)
    ids = (row["explanation_id"] for row in batch.texts)
    assert set(zip(rubbish, ids, strict=False)) <= set(zip(broken["rule"], broken["id"], strict=True))
    assert broken["id"].nunique() == 4
    assert "\0" in broken["value"].tolist()


def test_ten_thousand_identical_texts_of_one_entity_are_no_crash(batch: Batch) -> None:
    batch.texts = [{**batch.texts[0], "explanation_id": f"x{number}"} for number in range(10_000)]
    report = batch.gate()
    assert (report.refused, report.accepted_explanations) == (False, 10_000)


def test_half_written_staging_is_an_error(batch: Batch) -> None:
    batch.write()
    batch.staging.marker.unlink()
    with pytest.raises(DataError, match="half-written"):
        batch.judge()


# ---------------------------------------------------------------- the built-in catalogue
@pytest.fixture(scope="module")
def judged_catalog(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("catalog"))
    source = CatalogSource(layout.drawn, products=60)
    ingest(source, staging=layout.staging, rejected=layout.rejected("b"), progress=False)
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    copy_context(layout.expectations)
    report = check(
        layout.staging, accepted=layout.accepted, quarantine=layout.quarantine("b"), context_root=layout.expectations
    )
    assert not report.refused
    return layout


def test_every_planted_fault_is_caught_by_the_rule_that_it_names(judged_catalog: Layout) -> None:
    table = pd.read_csv(judged_catalog.quarantine("b"), keep_default_na=False)
    caught = set(zip(table["entity"], table["rule"], strict=True))
    faults = [f for f in injected_faults(judged_catalog.drawn) if f.caught_by not in ("", "ingest")]
    assert {(f.product, f.caught_by) for f in faults} <= caught
    assert len({f.caught_by for f in faults}) == 11


def test_nothing_sound_in_the_catalogue_is_quarantined(judged_catalog: Layout) -> None:
    faults = [f for f in injected_faults(judged_catalog.drawn) if f.caught_by not in ("", "ingest")]
    # Of a picture that two products claim, both rows wait: the right one is unknown.
    claimed = sum(f.caught_by == "picture_of_two_entities" for f in faults)
    assert len(pd.read_csv(judged_catalog.quarantine("b"))) == len(faults) + claimed


def test_a_swapped_text_without_a_name_passes_since_each_of_its_words_is_sound(judged_catalog: Layout) -> None:
    swapped = {f.product for f in injected_faults(judged_catalog.drawn) if f.kind == "swapped"}
    texts = pairs.read_frame(judged_catalog.accepted.explanations)
    of_product = texts[texts["entity_id"].isin({pairs.entity_id(code) for code in swapped})]
    assert set(of_product.groupby("entity_id").size()) == {4}
    assert len(swapped) == 2
