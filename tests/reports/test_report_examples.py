from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from entityclip.data.pairs import ENTITIES, EXPLANATIONS, PAIRS, write_rows
from entityclip.errors import DataError
from entityclip.paths import DataLayout
from entityclip.reports.examples import draw_examples
from entityclip.schemas import SLICES

QUERIES_EACH = 6


def pair(pair_id: str, entity_id: str) -> dict[str, Any]:
    return {"pair_id": pair_id, "entity_id": entity_id, "image": {"bytes": pair_id.encode(), "path": "p.jpg"}}


@pytest.fixture
def data(tmp_path: Path) -> DataLayout:
    """An entity per slice, named like it; all but 'none' have training pictures, all but 'one' an explanation."""
    layout = DataLayout(tmp_path)
    train = [pair(f"train-{s}-{i}", s) for s in SLICES[:3] for i in (1, 0)]
    test = [pair(f"{s}-{i}", s) for s in SLICES for i in range(QUERIES_EACH)]
    write_rows(layout.pairs, PAIRS, train, name="train")
    write_rows(layout.pairs, PAIRS, test, name="test")
    write_rows(layout.entities, ENTITIES, [{"entity_id": s, "entity": s.upper()} for s in SLICES], name="entities")
    texts = [
        {"entity_id": s, "text": f"{form} text of {s}"} for s in SLICES if s != "one" for form in ("first", "next")
    ]
    write_rows(layout.explanations, EXPLANATIONS, texts, name="explanations")
    return layout


def queries_of(*, missed: bool) -> pd.DataFrame:
    """Every test picture; where missed, the model predicted 'few' and the truth came third."""
    rows = [
        {
            "pair_id": f"{s}-{i}",
            "entity_id": s,
            "slice": s,
            "index": "mixed",
            "rank": 3 if missed else 1,
            "best": "few" if missed else s,
            "score": 0.75,
            "true_score": 0.5 if missed else 0.75,
        }
        for s in SLICES
        for i in range(QUERIES_EACH)
    ]
    return pd.DataFrame(rows)


def test_an_example_carries_question_answer_and_truth(data: DataLayout) -> None:
    queries = queries_of(missed=True).query("entity_id == 'none'")
    first, *_ = draw_examples(queries, data, split="test", hits=0, misses=2)
    assert first.picture.startswith(b"none-")
    assert (first.rank, first.slice) == (3, "none")
    assert first.predicted.model_dump() == {
        "entity": "FEW",
        "score": 0.75,
        "explanation": "first text of few",
        "picture": b"train-few-0",
    }
    assert (first.true.entity, first.true.score, first.true.picture) == ("NONE", 0.5, None)


def test_an_entity_without_explanation_has_none(data: DataLayout) -> None:
    (hit,) = draw_examples(queries_of(missed=False).query("entity_id == 'one'"), data, split="test", hits=1, misses=1)
    assert hit.true.explanation is None
    assert hit.true == hit.predicted


def test_misses_come_first_and_every_slice_has_its_share(data: DataLayout) -> None:
    queries = pd.concat([queries_of(missed=True), queries_of(missed=False)])
    shown = draw_examples(queries, data, split="test", hits=4, misses=8)
    assert [e.rank for e in shown] == [3] * 8 + [1] * 4
    assert [e.slice for e in shown] == list(SLICES) * 3


def test_other_indexes_are_not_shown_and_too_few_are_all_shown(data: DataLayout) -> None:
    queries = queries_of(missed=True).assign(index="caption")
    assert draw_examples(queries, data, split="test") == []
    assert len(draw_examples(queries, data, split="test", index="caption", misses=999)) == len(queries)


def test_the_order_of_the_queries_does_not_choose(data: DataLayout) -> None:
    queries = queries_of(missed=True)
    assert draw_examples(queries, data, split="test") == draw_examples(queries[::-1], data, split="test")


def test_queries_of_another_data_version_are_refused(data: DataLayout) -> None:
    queries = queries_of(missed=True).assign(pair_id="elsewhere")
    with pytest.raises(DataError, match="no test picture elsewhere"):
        draw_examples(queries, data, split="test")
