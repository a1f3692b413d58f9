"""A first batch, which no model has seen: texts about other things are found by fits on other entities."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entityclip.quality.first_batch import FEWEST_ENTITIES, judge_first_batch
from entityclip.quality.model_scores import EntityPictures

COUNT, WORDS = 200, 12
RNG = np.random.default_rng(0)
LOOKS = RNG.integers(0, WORDS, size=(COUNT, 3))
"""Three attributes of each entity."""
ENTITIES = pd.DataFrame(
    {"entity_id": [f"e{i}" for i in range(COUNT)], "entity": [f"KX-{i}B" for i in range(COUNT)], "aliases": None}
)


def texts(looks: np.ndarray) -> pd.DataFrame:
    lines = [
        f"The {e} has a body in colour{a}, with pattern{b} and a part{c}."
        for e, (a, b, c) in zip(ENTITIES["entity"], looks, strict=True)
    ]
    return pd.DataFrame({"entity_id": ENTITIES["entity_id"], "text": lines})


def pictures(noise: float, *, count: int = COUNT) -> EntityPictures:
    """Two pictures of each entity, whose features follow from its attributes, with noise."""
    directions = np.random.default_rng(1).normal(size=(3, WORDS, 96))
    seen = sum(directions[i, LOOKS[:count, i]] for i in range(3))
    both = np.repeat(seen, 2, axis=0) + noise * np.random.default_rng(2).normal(size=(2 * count, 96))
    return EntityPictures(np.repeat(ENTITIES["entity_id"][:count], 2).tolist(), both.astype(np.float32))


def test_sound_texts_stay_and_texts_of_other_entities_are_below_the_limit() -> None:
    table = texts(LOOKS)
    sound = judge_first_batch(table, ENTITIES, pictures(0.5))
    assert sound.why_not == ""
    assert (sound.contrast < sound.limit).mean() < 0.03
    bad = np.zeros(COUNT, bool)
    bad[RNG.permutation(COUNT)[:40]] = True
    moved = LOOKS.copy()
    moved[bad] = np.roll(LOOKS[bad], 1, axis=0)
    found = judge_first_batch(texts(moved), ENTITIES, pictures(0.5))
    assert (found.contrast < found.limit)[bad].mean() > 0.85
    assert (found.contrast < found.limit)[~bad].mean() < 0.03


def test_the_same_batch_is_judged_alike() -> None:
    one, two = (judge_first_batch(texts(LOOKS), ENTITIES, pictures(0.5)) for _ in range(2))
    assert np.array_equal(one.contrast, two.contrast)


def test_where_texts_and_pictures_have_nothing_in_common_there_is_no_limit() -> None:
    shuffled = np.random.default_rng(3).permutation(LOOKS)
    found = judge_first_batch(texts(shuffled), ENTITIES, pictures(0.5))
    assert np.isnan(found.limit)
    assert "of the texts of other entities" in found.why_not
    assert not (found.contrast < found.limit).any()


def test_a_batch_of_which_no_text_is_about_its_pictures_is_told_from_one_that_the_tower_cannot_see() -> None:
    shuffled = texts(np.random.default_rng(4).permutation(LOOKS))
    categories = ENTITIES.assign(category=[f"kind {look}" for look in LOOKS[:, 0]])
    found = judge_first_batch(shuffled, categories, pictures(0.5))
    assert found.unrelated.startswith("the texts fit their pictures no better than when they are exchanged at random")
    assert "categories and names predict the pictures (p = 0.001)" in found.unrelated
    # Neither texts nor categories say anything about these pictures, so that there is no evidence against the texts.
    assert judge_first_batch(shuffled, ENTITIES, pictures(0.5)).unrelated == ""
    noise = EntityPictures(pictures(0).owners, np.random.default_rng(6).normal(size=(2 * COUNT, 96)).astype(np.float32))
    assert judge_first_batch(shuffled, categories, noise).unrelated == ""


def test_texts_that_say_little_about_their_pictures_are_not_unrelated() -> None:
    little = ENTITIES.assign(category=[f"kind {look}" for look in LOOKS[:, 0]])
    some = texts(LOOKS).assign(text=[f"A thing in colour{a}, tasty and useful." for a, *_ in LOOKS])
    for count in (FEWEST_ENTITIES, COUNT):
        assert judge_first_batch(some, little, pictures(1.5, count=count)).unrelated == ""


def test_few_entities_with_pictures_are_not_judged_and_entities_without_have_no_contrast() -> None:
    few = judge_first_batch(texts(LOOKS), ENTITIES, pictures(0.5, count=FEWEST_ENTITIES - 1))
    assert few.why_not == f"39 entities have a text and a picture; expected at least {FEWEST_ENTITIES}"
    assert np.isnan(few.contrast).all()
    some = judge_first_batch(texts(LOOKS), ENTITIES, pictures(0.5, count=100))
    assert np.isfinite(some.contrast).tolist() == [row < 100 for row in range(COUNT)]
