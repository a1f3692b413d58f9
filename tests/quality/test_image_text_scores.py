from __future__ import annotations

import numpy as np
import pandas as pd

from entityclip.quality.image_text_scores import PICTURE_SCORES, score_against_pictures

COUNT, EACH = 40, 3
ENTITIES = pd.DataFrame({"entity_id": [f"e{i}" for i in range(COUNT)], "category": [f"k{i % 4}" for i in range(COUNT)]})
RNG = np.random.default_rng(0)
LOOKS = RNG.normal(size=(COUNT, 32))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scored(owner: np.ndarray, texts: np.ndarray, *, photographed: int = COUNT) -> pd.DataFrame:
    """Texts that look like ``texts`` (rows of LOOKS), owned by ``owner``."""
    shown = np.repeat(np.arange(photographed), EACH)
    return score_against_pictures(
        pd.DataFrame({"entity_id": [f"e{i}" for i in owner]}),
        ENTITIES,
        text_vectors=unit(LOOKS[texts] + 0.3 * np.random.default_rng(1).normal(size=(len(texts), 32))),
        picture_vectors=unit(LOOKS[shown] + 0.3 * np.random.default_rng(2).normal(size=(len(shown), 32))),
        picture_entities=[f"e{i}" for i in shown],
    )


def test_sound_texts_fit_their_own_pictures_best() -> None:
    found = scored(np.arange(COUNT), np.arange(COUNT))
    assert found["picture_match"].min() > 0.8
    assert found["picture_rank"].max() == 0
    assert found["picture_margin"].min() > 0
    assert found["swap_drop"].min() > 0


def test_a_text_swapped_with_a_siblings_loses_nothing_by_another_swap() -> None:
    texts = np.arange(COUNT)
    texts[[0, 4]] = [4, 0]
    found = scored(np.arange(COUNT), texts).loc[[0, 4]]
    assert (found["picture_margin"] < -0.5).all()
    assert (found["swap_drop"] < 0.5).all()
    assert (found["picture_rank"] > 0.01).all()


def test_without_pictures_scores_are_missing_and_not_zero() -> None:
    found = scored(np.arange(COUNT), np.arange(COUNT), photographed=10)
    assert found.loc[10:, list(PICTURE_SCORES)].isna().all(axis=None)
    assert found.loc[:9, list(PICTURE_SCORES)].notna().all(axis=None)


def test_without_siblings_only_the_scores_that_need_none_are_there() -> None:
    found = scored(np.array([0]), np.array([0]), photographed=1).iloc[0]
    assert found["picture_match"] > 0.8
    assert np.isnan([found["picture_rank"], found["picture_margin"], found["swap_drop"]]).all()


def test_an_empty_table_and_an_unknown_entity_are_no_crash() -> None:
    nothing = np.zeros(0, dtype=int)
    assert list(scored(nothing, nothing).columns) == ["entity_id", *PICTURE_SCORES]
    assert scored(np.array([999]), np.array([0]))[list(PICTURE_SCORES)].isna().all(axis=None)
