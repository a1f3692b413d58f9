"""Unit vectors, exact search, and an index on disk that is whole or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entityclip.errors import DataError, IndexMismatch
from entityclip.paths import IndexLayout
from entityclip.retrieval.vectors import best, load_index, nearest, save_index, unit

VECTORS = unit(np.random.default_rng(0).normal(size=(5, 4)))
ROWS = pd.DataFrame({"name": list("abcde")})


def saved(root: Path, vectors: np.ndarray = VECTORS, rows: pd.DataFrame = ROWS) -> IndexLayout:
    layout = IndexLayout(root / "index")
    save_index(layout, {"fingerprint": "m", "note": "x"}, vectors={"picture": vectors}, rows=rows)
    return layout


def test_rows_get_length_one_and_a_zero_row_stays_zero() -> None:
    vectors = unit(np.array([[3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]]))
    assert vectors.tolist() == [pytest.approx([0.6, 0.8]), [0, 0], [1, 0]]
    assert vectors.dtype == np.float32


def test_best_is_a_stable_sort_cut_short() -> None:
    scores = np.random.default_rng(0).integers(0, 5, size=60).astype(np.float32)
    for k in (0, 1, 7, 60, 99):
        expected = np.argsort(-scores, kind="stable")[:k]
        assert scores[best(scores, k=k)].tolist() == scores[expected].tolist()
    assert best(scores, k=99).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_a_vector_is_nearest_to_itself() -> None:
    for row, vector in enumerate(VECTORS):
        rows, scores = nearest(vector, VECTORS, k=2)
        assert (rows[0], scores[0]) == (row, pytest.approx(1, abs=1e-6))
        assert scores[1] < scores[0]


def test_an_index_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    card, vectors, rows = load_index(saved(tmp_path), kinds=("picture",), fingerprint="m")
    assert card == {"fingerprint": "m", "note": "x", "rows": 5}
    assert (vectors["picture"] == VECTORS).all()
    assert rows.equals(ROWS)


def test_a_smaller_index_replaces_a_larger_one_and_leaves_nothing(tmp_path: Path) -> None:
    saved(tmp_path)
    layout = saved(tmp_path, VECTORS[:2], ROWS[:2])
    assert len(load_index(layout, kinds=("picture",), fingerprint="m")[2]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_index_that_was_killed_while_it_was_written_is_not_taken(tmp_path: Path) -> None:
    layout = saved(tmp_path)
    layout.root.rename(tmp_path / ".index.partial")
    with pytest.raises(DataError, match=r"missing or half-written; build it again"):
        load_index(layout, kinds=("picture",), fingerprint="m")
    assert len(load_index(saved(tmp_path), kinds=("picture",), fingerprint="m")[2]) == 5


def test_an_index_of_another_model_or_of_other_kinds_is_refused(tmp_path: Path) -> None:
    layout = saved(tmp_path)
    with pytest.raises(IndexMismatch, match="built by model m, queried by model other"):
        load_index(layout, kinds=("picture",), fingerprint="other")
    with pytest.raises(DataError, match="5 rows of caption"):
        load_index(layout, kinds=("caption",), fingerprint="m")


def test_rows_and_vectors_that_do_not_match_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the card names 4 rows"):
        load_index(saved(tmp_path, VECTORS, ROWS[:4]), kinds=("picture",), fingerprint="m")
