"""The rivals of the preset ``photos``, on vectors whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_data

from benchmarks.lib import photo_baselines as baselines
from entityclip.paths import DecodedLayout

ANGLES = np.deg2rad([0, 10, 20, 90, 100])
TRAIN = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
PRODUCTS = np.array([0, 0, 0, 1, 1])


@pytest.mark.parametrize("rival", [baselines.nearest, baselines.linear, baselines.tip_adapter])
def test_each_rival_names_the_product_whose_pictures_are_near(rival: Callable[..., np.ndarray]) -> None:
    angles = np.deg2rad([5, 95])
    queries = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert rival(TRAIN, PRODUCTS, queries).tolist() == [0, 1]


def test_the_difference_is_in_points_and_pairs_the_queries() -> None:
    theirs = np.tile([True, False, False, False], (3, 25))
    ours = np.tile([True, True, False, False], (3, 25))
    mean, low, high = baselines.difference(ours, theirs)
    assert mean == 25.0
    assert 10 < low < mean < high < 40
    assert baselines.difference(ours, ours) == [0.0, 0.0, 0.0]


def test_all_splits_share_the_numbers_of_the_products(tmp_path: Path) -> None:
    data, cache = tiny_data(tmp_path / "data"), DecodedLayout(tmp_path / "cache")
    train = baselines.photographs(data, "train", side=32, cache=cache)
    test = baselines.photographs(data, "test", side=32, cache=cache)
    assert train.squares.shape == (16, 3, 32, 32)
    assert set(train.products) < set(test.products)
    assert len(test.of(np.array([0, 2])).pair_ids) == 2
