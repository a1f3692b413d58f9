from __future__ import annotations

import re
from xml.etree import ElementTree

import pandas as pd

from entityclip.reports.plots import coverage_curve, found_within, loss_curve, recall_by_slice
from entityclip.schemas import EvalReport, Metric


def evaluation(*metrics: Metric) -> EvalReport:
    return EvalReport(
        model_fingerprint="m", evaluation_hash="e", split="test", pictures=1, entities=1, metrics=metrics, seconds=0
    )


def metric(index: str, slice: str, *, name: str = "R@1") -> Metric:
    where = {"index": index, "direction": "image_to_text", "slice": slice, "name": name}
    return Metric.model_validate({**where, "value": 50, "low": 40, "high": 60, "queries": 10})


def words(svg: str | None) -> list[str]:
    """The texts of a plot; fails unless it is one well-formed element."""
    assert svg is not None
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def test_recall_shows_the_slices_and_indexes_that_were_measured() -> None:
    shown = words(
        recall_by_slice(evaluation(metric("caption", "none"), metric("mixed", "all"), metric("pairs", "one")))
    )
    assert {"never photographed", "all together", "caption index", "mixed index"} <= set(shown)
    assert not {"1 picture", "explanation index"} & set(shown)


def test_nothing_measured_draws_nothing() -> None:
    assert recall_by_slice(evaluation(metric("caption", "all", name="R@5"))) is None
    assert found_within(pd.DataFrame({"index": ["pairs"], "slice": ["one"], "rank": [1]})) is None
    assert loss_curve(pd.DataFrame({"step": [], "loss": []})) is None


def test_coverage_stands_against_false_accepts_with_the_targets_as_dots() -> None:
    known = {
        "index": "mixed",
        "rank": [1, 1, 2, 1],
        "confidence": [0.9, 0.8, 0.7, 0.2],
        "open_set": [0.9, 0.6, 0.3, 0.8],
    }
    unknown = {"unknown_confidence": [0.8, 0.5, 0.4, 0.1], "unknown_open_set": [0.2, 0.1, 0.1, 0.3]}
    queries = pd.DataFrame(known | unknown)
    accepts, coverage = (
        metric("mixed", "all", name="false_accept_at_0.9"),
        metric("mixed", "all", name="coverage_at_0.9"),
    )
    report = evaluation().model_copy(update={"open_set": (accepts, coverage)})
    assert {"confidence", "open-set rule", "target 0.9"} <= set(words(coverage_curve(queries, report)))
    without = queries.assign(open_set=float("nan"))
    assert "open-set rule" not in words(coverage_curve(without, report))
    assert coverage_curve(queries[["index", "rank"]], report) is None


def test_colours_are_the_pages_variables() -> None:
    svg = recall_by_slice(evaluation(metric("explanation", "one")))
    assert svg is not None
    assert "var(--explanation)" in svg
    assert "#a0000" not in svg


def test_plots_on_one_page_share_no_id() -> None:
    queries = pd.DataFrame({"index": ["caption", "mixed"], "slice": ["one", "one"], "rank": [5, 1]})
    losses = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "vtc": [1.0, 0.5]})
    plots = [recall_by_slice(evaluation(metric("caption", "one"))), found_within(queries), loss_curve(losses)]
    ids = [i for svg in plots for i in re.findall(r'\bid="([^"]+)"', svg or "")]
    assert ids
    assert len(ids) == len(set(ids))


def test_a_long_run_stays_a_small_drawing_and_its_words_stay_words() -> None:
    long = pd.DataFrame({"step": range(100_000), "loss": range(100_000), "$odd_<b>": range(100_000)})
    svg = loss_curve(long)
    assert "$odd_<b>" in words(svg)
    assert len(svg or "") < 60_000


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    losses = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, float("inf"), None], "itm": [float("nan")] * 3})
    assert "itm" in words(loss_curve(losses))
