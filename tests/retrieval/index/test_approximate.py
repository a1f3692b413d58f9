"""The approximate index finds what comparing with everything finds, and says how often it does."""

import numpy as np
import pandas as pd
import pytest

from entityclip.errors import DataError
from entityclip.paths import IndexLayout
from entityclip.retrieval.index import PictureIndex
from entityclip.retrieval.index.approximate import TARGET, Approximate, exact
from entityclip.retrieval.vectors import unit


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """3,000 vectors around 100 centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, 32))
    return unit(np.repeat(centres, 30, axis=0) + 0.4 * rng.standard_normal((3000, 32)))


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit(np.random.default_rng(1).standard_normal((50, 32)))


@pytest.fixture(scope="module")
def index(vectors: np.ndarray, queries: np.ndarray) -> Approximate:
    return Approximate.build(vectors, queries=queries)


def found(index: Approximate, vectors: np.ndarray, queries: np.ndarray, allowed: np.ndarray | None = None) -> float:
    """Share of the true ten nearest."""
    allowed = np.ones(len(vectors), bool) if allowed is None else allowed
    rows = np.flatnonzero(allowed)
    true = rows[exact(vectors[rows], queries, k=10)]
    only = index.only(allowed) if not allowed.all() else None
    hits = [np.isin(index.nearest(q, vectors, k=10, only=only), t).sum() for q, t in zip(queries, true, strict=True)]
    return sum(hits) / true.size


def test_recall_is_measured_and_reached_on_other_questions(index, vectors, queries):
    assert index.measured.rows == 3000
    assert index.measured.recall_at_10 >= TARGET
    assert index.measured.probes < index.measured.lists
    assert found(index, vectors, unit(vectors[::60] + 0.01)) >= TARGET - 0.01


def test_answers_are_ordered_by_the_full_vectors(index, vectors):
    rows = index.nearest(vectors[7], vectors, k=10)
    assert rows[0] == 7
    assert np.all(np.diff(vectors[rows] @ vectors[7]) <= 0)


def test_filter_is_exact_where_few_are_left(index, vectors, queries):
    few = np.arange(3000) % 100 == 3
    assert found(index, vectors, queries, allowed=few) == 1
    nothing = np.zeros(3000, bool)
    assert len(index.nearest(queries[0], vectors, k=10, only=index.only(nothing))) == 0


def test_filter_keeps_recall_where_many_are_left(index, vectors, queries, monkeypatch):
    monkeypatch.setattr("entityclip.retrieval.index.approximate.FEW", 100)
    half = np.arange(3000) % 2 == 0
    assert found(index, vectors, queries, allowed=half) >= TARGET - 0.02
    assert half[index.nearest(queries[0], vectors, k=50, only=index.only(half))].all()


def test_filter_that_takes_out_the_nearest_lists_is_answered_from_others(index, vectors, queries, monkeypatch):
    """As a filter by category does: rows near the question are gone, what is left lies in a few lists farther off."""
    monkeypatch.setattr("entityclip.retrieval.index.approximate.FEW", 100)
    third = np.arange(3000) // 30 % 3 == 0  # whole neighbourhoods
    assert index.only(third).holding < 0.6 * index.measured.lists
    assert found(index, vectors, queries, allowed=third) >= TARGET
    assert found(index, vectors, vectors[:900:30], allowed=third) >= TARGET


def test_filter_reads_only_lists_that_hold_what_it_leaves(index, vectors, monkeypatch):
    monkeypatch.setattr("entityclip.retrieval.index.approximate.FEW", 100)
    hasty = Approximate(index.lists, index.measured.model_copy(update={"probes": 1}))
    tenth = np.arange(3000) // 30 % 10 == 0
    for question in vectors[~tenth][::60]:  # in the middle of what is taken out
        assert len(hasty.nearest(question, vectors, k=10, only=hasty.only(tenth))) == 10


def test_exact_equals_the_whole_product(vectors, queries):
    assert (exact(vectors, queries, k=5) == np.argsort(-(queries @ vectors.T), axis=1)[:, :5]).all()


def test_large_picture_index_is_approximate_and_carries_its_recall(tmp_path, vectors, queries, monkeypatch):
    monkeypatch.setattr("entityclip.retrieval.index.pictures.EXACT_ROWS", 1000)
    rows = pd.DataFrame({"pair_id": [f"p{i}" for i in range(3000)]})
    layout = IndexLayout(tmp_path / "pictures")
    PictureIndex("m", rows, vectors).save(layout, queries=queries)
    loaded = PictureIndex.load(layout, fingerprint="m")
    assert loaded.approximate is not None
    assert loaded.approximate.measured.recall_at_10 >= TARGET
    assert loaded.approximate.nearest(vectors[5], loaded.vectors, k=1).tolist() == [5]
    damaged = tmp_path / "damaged"  # put in its place: cutting off a file that is mapped ends the process
    damaged.write_bytes(layout.approximate.read_bytes()[:1000])
    damaged.replace(layout.approximate)
    with pytest.raises(DataError, match="build the index again"):
        PictureIndex.load(layout, fingerprint="m")
