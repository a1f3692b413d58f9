from __future__ import annotations

import random
import time

import numpy as np
import pandas as pd
import pytest

from entityclip.quality import score_explanations, score_shards

COLOURS = ["red", "blue", "green", "yellow", "black", "white", "purple", "orange", "pink", "brown"]
PARTS = ["handle", "lid", "base", "rim", "strap", "dial", "button", "spout"]
PATTERNS = ["dots", "stripes", "checks", "zigzags", "waves", "stars"]


def catalogue(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Entities of two kinds, each with three texts about its own look."""
    entities, texts = [], []
    for i in range(count):
        rng, code, kind = random.Random(i), f"KX-{100 + i}B", ("kettle", "lamp")[i % 2]
        body, accent = rng.sample(COLOURS, 2)
        part, pattern = rng.choice(PARTS), rng.choice(PATTERNS)
        entities.append({"entity_id": f"e{i}", "entity": code, "aliases": [], "category": kind})
        forms = (
            f"The {code} is a {body} {kind} with {accent} {pattern}, and its {part} is {accent}.",
            f"Look for a {kind} in {body}. The body shows {pattern} in {accent} and the {part} is {accent} too.",
            f"There are {pattern} on this {kind}. Its colour is {body}, and {accent} is the colour of the {part}.",
        )
        about = {"entity_id": f"e{i}", "caption": code, "language": "en", "generator": "g"}
        texts += [about | {"text": text} for text in forms]
    return pd.DataFrame(texts), pd.DataFrame(entities)


TEXTS, ENTITIES = catalogue(30)


def test_a_sound_text_is_nearer_to_its_own_than_to_any_sibling() -> None:
    scored = score_explanations(TEXTS, ENTITIES)
    assert (scored["like_own"] > scored["like_sibling"]).mean() > 0.9
    assert scored["closer_to"].isna().mean() > 0.95
    assert scored[["like_own", "like_sibling"]].stack().between(0, 1 + 1e-9).all()


def test_a_text_swapped_with_a_siblings_is_closer_to_that_sibling() -> None:
    swapped = TEXTS.copy()
    swapped.loc[[1, 13], "text"] = TEXTS.loc[[13, 1], "text"].to_numpy()  # e0 and e4, both kettles
    scored = score_explanations(swapped, ENTITIES)
    assert scored.loc[[1, 13], "closer_to"].tolist() == ["KX-104B", "KX-100B"]


def test_likeness_is_missing_without_another_text_or_another_entity() -> None:
    alone = score_explanations(TEXTS[:1], ENTITIES).iloc[0]
    assert np.isnan(alone["like_own"])
    assert np.isnan(alone["like_sibling"])
    assert alone["closer_to"] is None or pd.isna(alone["closer_to"])


def test_one_template_for_many_is_seen_behind_the_names() -> None:
    copies = TEXTS.copy()
    for row, code in ((0, "KX-100B"), (3, "KX-101B"), (6, "KX-102B")):
        copies.loc[row, "text"] = (
            f"The {code} is a thing of beauty, made with care for everyone who loves good things at home."
        )
    scored = score_explanations(copies, ENTITIES)
    assert scored["nearly_shared_by"][[0, 3, 6]].tolist() == [3, 3, 3]
    assert scored["shared_by"].max() == 1
    assert scored["nearly_shared_by"].drop([0, 3, 6]).max() == 1


def test_a_word_more_is_still_nearly_the_same() -> None:
    long = "On a stand of dark oak there is a vessel whose rim is narrow and whose belly is wide, with waves around it."
    texts = TEXTS[:9].copy()
    texts.loc[[0, 3], "text"] = [long, long + " Today."]
    assert score_explanations(texts, ENTITIES)["nearly_shared_by"][[0, 3]].tolist() == [2, 2]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_shards_have_the_scores_of_the_whole_table(processes: int) -> None:
    def shards() -> list[pd.DataFrame]:
        return [TEXTS[:40], TEXTS[40:41], TEXTS[41:]]

    found = pd.concat(score_shards(shards, ENTITIES, processes=processes))
    pd.testing.assert_frame_equal(found, score_explanations(TEXTS, ENTITIES))


def test_a_table_that_was_joined_from_parts_has_the_same_scores() -> None:
    joined = pd.concat([TEXTS.iloc[:40], TEXTS.iloc[40:]])
    pd.testing.assert_frame_equal(score_explanations(joined, ENTITIES), score_explanations(TEXTS, ENTITIES))


def test_scoring_twice_changes_nothing() -> None:
    once = score_explanations(TEXTS, ENTITIES)
    pd.testing.assert_frame_equal(score_explanations(once, ENTITIES), once, check_like=True)


def test_a_cut_off_text_is_no_style_but_a_habit_is() -> None:
    cut = TEXTS.copy()
    cut.loc[0, "text"] = "The KX-100B is a green kettle with white str"
    assert score_explanations(cut, ENTITIES)["open_end"].dropna().tolist() == ["reen kettle with white str"[-24:]]
    labels = TEXTS.assign(text=TEXTS["text"].str.rstrip("."))
    assert score_explanations(labels, ENTITIES)["open_end"].isna().all()
    assert score_explanations(cut[:1], ENTITIES)["open_end"].notna().all()


def test_numbers_are_looked_up_in_the_prompt() -> None:
    source_provided = pd.DataFrame({"entity_id": ["e0"], "text": ["Holds 1,200 ml; 2.5 kg."]})
    texts = TEXTS[:3].copy()
    texts["text"] = ["The KX-100B holds 1200 ml and has 2 lids.", "It weighs 2.5 kg, or 5.5 lb.", "Like the RX-4821B."]
    scored = score_explanations(texts, ENTITIES, source_provided=source_provided)
    assert scored["unknown_number"].fillna("").tolist() == ["", "5.5", "RX-4821B"]
    assert score_explanations(texts, ENTITIES)["unknown_number"].isna().all()


def test_without_model_numbers_in_the_names_a_code_is_compared_with_the_prompt() -> None:
    plain = ENTITIES.assign(entity="Kettle", aliases=None)
    source_provided = pd.DataFrame({"entity_id": ["e0"], "text": ["Formerly sold as QQ-999Z."]})
    texts = TEXTS[:4].copy()
    texts["text"] = [
        "The QQ-999Z of old.",
        "Spare parts: RX-4821B.",
        "Rich in B12 and E330.",
        "ISO-9001, A380, 500 ml.",
    ]
    scored = score_explanations(texts, plain, source_provided=source_provided)
    assert scored["unknown_code"].fillna("").tolist() == ["", "RX-4821B", "", ""]
    assert score_explanations(texts, plain)["unknown_code"].isna().all()


def test_a_domain_rule_that_is_broken_stands_in_its_column() -> None:
    scored = score_explanations(TEXTS[:3], ENTITIES, broken_rule=lambda text, _: "no dots" if "dots" in text else None)
    assert (scored["broken_rule"].notna() == TEXTS["text"][:3].str.contains("dots")).all()


def test_ten_thousand_nearly_equal_texts_cost_no_square() -> None:
    entities = pd.DataFrame(
        {"entity_id": [str(i) for i in range(10_000)], "entity": "x", "aliases": None, "category": "k"}
    )
    words = " ".join(f"word{i}" for i in range(60))
    texts = pd.DataFrame({"entity_id": entities["entity_id"], "caption": "", "language": "en"})
    texts["text"] = [f"{words} and number {i}." for i in range(10_000)]
    started = time.process_time()
    scored = score_explanations(texts, entities)
    assert scored["nearly_shared_by"].min() == 10_000
    assert time.process_time() - started < 30


# ---------------------------------------------------------------- one text for each entity
def test_the_only_text_of_an_entity_is_compared_by_its_caption() -> None:
    once = TEXTS.groupby("entity_id", sort=False).head(1).reset_index(drop=True)
    looks = TEXTS.groupby("entity_id", sort=False)["text"].nth(1).to_numpy()
    captioned = once.assign(caption=[f"{code}: {look}" for code, look in zip(once["caption"], looks, strict=True)])
    captioned.loc[3, "caption"] = once.loc[3, "caption"]  # its name alone says nothing
    scored = score_explanations(captioned, ENTITIES)
    assert scored["compared_with"].isna().tolist() == [row == 3 for row in range(len(once))]
    assert set(scored["compared_with"].dropna()) == {"caption"}
    told_apart = scored["like_own"] > scored["like_sibling"]
    assert told_apart.drop(3).mean() > 0.9
    assert np.isnan(scored.loc[3, "like_own"])
    captioned.loc[[0, 4], "text"] = once.loc[[4, 0], "text"].to_numpy()
    swapped = score_explanations(captioned, ENTITIES)
    assert (swapped.loc[[0, 4], "like_own"] < swapped.loc[[0, 4], "like_sibling"]).all()
    assert swapped["closer_to"].isna().all()


def test_with_other_texts_captions_change_nothing() -> None:
    captioned = TEXTS.assign(caption=TEXTS["caption"] + " with purple zigzags")
    columns = ["like_own", "like_sibling", "closer_to", "compared_with"]
    pd.testing.assert_frame_equal(
        score_explanations(captioned, ENTITIES)[columns], score_explanations(TEXTS, ENTITIES)[columns]
    )
    assert set(score_explanations(TEXTS, ENTITIES)["compared_with"]) == {"texts"}
    assert str(score_explanations(TEXTS, ENTITIES)["compared_with"].dtype) == "category"  # columns of text hold faults
