"""Effects of an ablation: paired by seed and picture, with an interval that covers both."""

import math

import numpy as np
import pandas as pd
import pytest

from entityclip.experiments.ablate import PLAIN
from entityclip.experiments.effects import effects, effects_table

EXPLAINED = "+ image-explanation"


def hits(recalls: dict[str, list[float]], *, queries: int = 400, seed: int = 0) -> pd.DataFrame:
    """Hits of variants with these recalls by seed; the same pictures are difficult for all of them."""
    rng = np.random.default_rng(seed)
    difficulty, entities = rng.random(queries), np.arange(queries) // 4
    about = {"entity_id": entities, "pair_id": np.arange(queries), "index": "caption"}
    about["slice"] = np.where(entities % 2, "few", "none")
    return pd.concat(
        [
            pd.DataFrame(about).assign(variant=name, seed=number, hit=100.0 * (difficulty < recall))
            for name, of_seeds in recalls.items()
            for number, recall in enumerate(of_seeds)
        ]
    )


def overall(found: pd.DataFrame) -> pd.Series:
    return found[found["slice"] == "all"].iloc[0]


def test_a_difference_is_paired_by_seed() -> None:
    """Seeds that differ by far more than the variants do not hide what is added."""
    base = [0.3, 0.4, 0.5, 0.6]
    row = overall(effects(hits({PLAIN: base, EXPLAINED: [recall + 0.1 for recall in base]}, queries=4000)))
    assert (row["variant"], row["against"], row["seeds"]) == (EXPLAINED, PLAIN, 4)
    assert row["points"] == pytest.approx(10, abs=1)
    assert row["low"] > 8
    assert row["d"] > 5


def test_the_interval_covers_the_sampling_of_the_pictures_where_the_seeds_agree() -> None:
    row = overall(effects(hits({PLAIN: [0.4] * 3, EXPLAINED: [0.5] * 3})))
    assert row["high"] - row["low"] > 4
    assert row["low"] < row["points"] < row["high"]
    assert math.isnan(row["d"])  # the seeds do not deviate at all


def test_nothing_that_was_not_trained_is_compared_and_one_seed_has_no_interval() -> None:
    found = effects(hits({PLAIN: [0.4], EXPLAINED: [0.5], "+ MMAE": [0.5]}))
    assert set(zip(found["variant"], found["against"], strict=True)) == {(EXPLAINED, PLAIN), ("+ MMAE", EXPLAINED)}
    assert found["low"].isna().all()
    assert set(found["slice"]) == {"few", "none", "all"}
    assert "| + image-explanation | plain CLIP | caption |" in effects_table(found)
    assert "[" not in effects_table(found)
