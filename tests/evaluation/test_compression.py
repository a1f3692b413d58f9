"""Whether a runtime ships: on queries whose changes are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entityclip.evaluation.compression import RuntimeRecall, decide_runtime, runtime_changes
from entityclip.retrieval.vectors import unit
from entityclip.schemas import RuntimeDecision

PER_ENTITY = 5


def recall(ranks: np.ndarray, slices: np.ndarray, *, moved: float = 0.01, categories: str = "") -> RuntimeRecall:
    """One query per rank; five of each entity. ``moved``: distance of the vectors from those of ``moved=0``."""
    number = np.arange(len(ranks))
    queries = pd.DataFrame(
        {
            "pair_id": [f"p{n}" for n in number],
            "entity_id": [f"e{n // PER_ENTITY}" for n in number],
            "slice": slices,
            "category": [categories if n // PER_ENTITY == 0 else "" for n in number],
            "language": "en",
            "index": "mixed",
            "direction": "image_to_text",
            "rank": ranks,
        }
    )
    return RuntimeRecall(queries, unit(np.array([[1.0, moved]] * len(ranks))))


def decided(torch: RuntimeRecall, runtime: RuntimeRecall, budget: float = 1.0) -> RuntimeDecision:
    return decide_runtime(runtime_changes(runtime, torch), budget=budget, measured_on="vnni")


def sliced(**counts: int) -> np.ndarray:
    return np.repeat(list(counts), list(counts.values()))


def test_the_same_answers_on_many_queries_ship() -> None:
    slices = sliced(frequent=1000, none=1000)
    ranks = np.tile([1, 1, 1, 2, 7], 400)
    decision = decided(recall(ranks, slices, moved=0), recall(ranks, slices))
    assert decision.ships
    assert {change.slice for change in decision.changes} == {"all", "frequent", "none", "language=en"}
    assert all(-0.5 < change.low < 0 == change.points for change in decision.changes)  # a loss may have been missed
    assert "over all 2,000 queries, measured with vnni; a loss of 1 points is allowed" in decision.reasons[0]
    assert not decided(recall(ranks, slices, moved=0), recall(ranks, slices), budget=0).ships


def test_few_queries_show_too_little_unless_vectors_differ_by_rounding_alone() -> None:
    slices = sliced(frequent=1000, one=100, none=4)
    ranks = np.ones(1104, int)
    torch, rounded = recall(ranks, slices, moved=0), recall(ranks, slices, moved=1e-6)
    decision = decided(torch, recall(ranks, slices))
    assert not decision.ships
    reasons = " | ".join(decision.reasons)
    assert "one changes by +0.0 points (-3.7 to +3.7) over 100 queries: too few queries to exclude more" in reasons
    assert "none changes by +0.0 points (-100.0 to +100.0) over 4 queries: too few" in reasons
    assert "a budget of 100 would let it ship" in reasons
    assert decided(torch, recall(ranks, slices), budget=100).ships
    assert decided(torch, rounded, budget=0).ships


def test_one_slice_that_loses_too_much_is_enough_and_is_named() -> None:
    slices = sliced(frequent=4000, none=1000)
    lost = np.ones(5000, int)
    lost[4000:4100] = 2  # ten points of this slice, two of all
    decision = decided(recall(np.ones(5000, int), slices, moved=0), recall(lost, slices), budget=5)
    assert not decision.ships
    assert [reason for reason in decision.reasons if reason.startswith("none changes by -10.0 points")]
    assert "too much" in decision.reasons[1]
    assert not [reason for reason in decision.reasons if reason.startswith("frequent")]


@pytest.mark.parametrize(("missed", "ships"), [(1, True), (5, False)])
def test_a_small_category_refuses_only_by_its_whole_interval(missed: int, ships: bool) -> None:
    slices = sliced(frequent=5000)
    lost = np.ones(5000, int)
    lost[:missed] = 2
    torch = recall(np.ones(5000, int), slices, moved=0, categories="kettle")
    decision = decided(torch, recall(lost, slices, categories="kettle"))
    assert decision.ships is ships
    assert any(change.slice == "category=kettle" for change in decision.changes)
