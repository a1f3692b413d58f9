from __future__ import annotations

import pandas as pd
import pytest

from entityclip.quality.fault_injection import COPIES, KINDS, SWAPS, inject_faults

ENTITIES = pd.DataFrame(
    [
        {"entity_id": f"e{i}", "entity": f"KX-{200 + i}B", "aliases": [f"Name {i}"], "category": f"kind {i % 4}"}
        for i in range(80)
    ]
)
TEXTS = pd.DataFrame(
    [
        {
            "explanation_id": f"x{i}.{j}",
            "entity_id": f"e{i}",
            "caption": f"KX-{200 + i}B",
            "text": f"The KX-{200 + i}B is product number {word} of the list, as text {j} says.",
            "language": "en",
        }
        for i, word in enumerate(f"w{i}" for i in range(80))
        for j in range(3)
    ],
    index=pd.RangeIndex(1000, 1240),
)
CATEGORY = dict(zip(ENTITIES["entity_id"], ENTITIES["category"], strict=True))


def test_every_kind_is_injected_about_as_often() -> None:
    faulty = inject_faults(TEXTS, ENTITIES, share=0.5)
    counts = faulty["injected_fault"].value_counts()
    assert set(counts.index) == set(KINDS)
    assert counts.min() >= 10
    assert counts.max() <= 15
    assert faulty.index.equals(TEXTS.index)


def test_the_same_seed_plants_the_same_and_another_something_else() -> None:
    pd.testing.assert_frame_equal(inject_faults(TEXTS, ENTITIES, share=0.5), inject_faults(TEXTS, ENTITIES, share=0.5))
    assert not inject_faults(TEXTS, ENTITIES, share=0.5).equals(inject_faults(TEXTS, ENTITIES, share=0.5, seed=1))


def test_sound_rows_are_left_alone() -> None:
    faulty = inject_faults(TEXTS, ENTITIES, share=0.5)
    sound = faulty["injected_fault"].isna()
    pd.testing.assert_frame_equal(faulty.loc[sound, list(TEXTS)], TEXTS[sound])
    assert (faulty.loc[~sound, ["entity_id", "text"]] != TEXTS.loc[~sound, ["entity_id", "text"]]).any(
        axis=1
    ).mean() > 0.9


@pytest.mark.parametrize(("kind", "same"), [("swapped_sibling", True), ("swapped_group", False)])
@pytest.mark.parametrize("by", ["text", "entity"])
def test_swapped_texts_change_owners_and_nothing_else(kind: str, same: bool, by: str) -> None:
    faulty = inject_faults(TEXTS, ENTITIES, share=0.5, kinds=[kind], by=by)  # type: ignore[list-item, arg-type]
    swapped = faulty["injected_fault"].notna()
    before, after = TEXTS.loc[swapped, "entity_id"], faulty.loc[swapped, "entity_id"]
    assert 110 <= swapped.sum() <= 120
    assert (before != after).all()
    assert ((before.map(CATEGORY) == after.map(CATEGORY)) == same).all()
    assert faulty["text"].equals(TEXTS["text"])
    assert (
        faulty["caption"] == faulty["entity_id"].map(dict(zip(TEXTS["entity_id"], TEXTS["caption"], strict=True)))
    ).all()
    assert faulty["entity_id"].value_counts().sort_index().equals(TEXTS["entity_id"].value_counts().sort_index())


def test_all_texts_of_an_entity_go_wrong_together() -> None:
    faulty = inject_faults(TEXTS, ENTITIES, share=0.5, kinds=SWAPS, by="entity")
    assert set(faulty.groupby("entity_id")["injected_fault"].count()) == {0, 3}


def test_copies_name_their_own_entity() -> None:
    faulty = inject_faults(TEXTS, ENTITIES, share=0.5, kinds=["duplicated"])
    copies = faulty[faulty["injected_fault"].notna()]
    assert all(row.caption in row.text for row in copies.itertuples())
    plain = copies["text"].str.replace(r"KX-\d+B", "", regex=True)
    assert set(plain.value_counts()) == {COPIES}


def test_without_categories_all_entities_are_siblings() -> None:
    faulty = inject_faults(TEXTS, ENTITIES.assign(category=None), share=0.5, kinds=SWAPS)
    assert set(faulty["injected_fault"].dropna()) == {"swapped_sibling"}


def test_japanese_texts_get_japanese_faults() -> None:
    texts = TEXTS.assign(text="赤い本体に白い水玉模様があり、正面に丸いラベルが付いたケトルです。", language="ja")
    faulty = inject_faults(texts, ENTITIES, share=1, kinds=["injected", "refusal", "personal_data", "invented_code"])
    changed = faulty.loc[faulty["injected_fault"].notna(), "text"]
    assert len(changed) > 200
    assert changed.str.contains(r"[ぁ-ん]").all()
    assert not changed.str.contains("The |and ").any()


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("by", ["text", "entity"])
def test_next_to_nothing_is_no_crash(rows: int, by: str) -> None:
    assert len(inject_faults(TEXTS[:rows], ENTITIES, share=1, by=by)) == rows  # type: ignore[arg-type]
    assert inject_faults(TEXTS[:rows], ENTITIES, share=1, kinds=[])["injected_fault"].isna().all()
