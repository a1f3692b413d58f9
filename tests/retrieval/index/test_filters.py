"""Filters pass what they say and nothing else."""

import datetime

import numpy as np
import pandas as pd
import pytest

from entityclip.retrieval.index.filters import Facets
from entityclip.schemas import Filter

ROWS = pd.DataFrame(
    {
        "category": ["cup", "cup", "ポンプ", None],
        "language": ["en", "ja", "ja", "en"],
        "tags": [["new", "sale"], ["new"], [], ["sale"]],
        "date": ["2026-01-31", "2026-02-01", "", "2025-12-31T10:00:00"],
    }
)
DAY = datetime.date(2026, 2, 1)


@pytest.mark.parametrize(
    ("where", "passed"),
    [
        ({}, [0, 1, 2, 3]),
        ({"categories": ("cup",)}, [0, 1]),
        ({"categories": ("cup", "ポンプ")}, [0, 1, 2]),
        ({"categories": ("boat",)}, []),
        ({"languages": ("ja",)}, [1, 2]),
        ({"tags": ("new",)}, [0, 1]),
        ({"tags": ("new", "sale")}, [0]),
        ({"tags": ("old",)}, []),
        ({"since": DAY}, [1]),
        ({"until": DAY}, [0, 1, 3]),
        ({"until": datetime.date(2025, 12, 31)}, [3]),
        ({"categories": ("cup",), "languages": ("ja",), "tags": ("new",)}, [1]),
    ],
)
def test_filter_passes_what_it_says(where, passed):
    assert np.flatnonzero(Facets(ROWS).mask(Filter(**where))).tolist() == passed


def test_rows_without_tags_and_dates_pass_no_filter_by_them():
    facets = Facets(ROWS[["category", "language"]])
    assert not facets.mask(Filter(tags=("new",))).any()
    assert not facets.mask(Filter(until=DAY)).any()


def test_no_rows_give_an_empty_mask():
    assert Facets(ROWS.iloc[:0]).mask(Filter(categories=("cup",), tags=("new",))).shape == (0,)
