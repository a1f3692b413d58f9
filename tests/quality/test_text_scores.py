from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from entityclip.data.sources.base import EntityRow
from entityclip.data.sources.grocery import GrocerySource
from entityclip.quality import score_explanations
from entityclip.quality.patterns import PATTERNS

ENTITIES = pd.DataFrame(
    [
        {"entity_id": "kx", "entity": "KX-204B", "aliases": ["Marlo Venta", "マルロ・ヴェンタ"]},
        {"entity_id": "zf", "entity": "ZF-684K", "aliases": ["Sola Dane", "ソラ・ダネ"]},
        {"entity_id": "or", "entity": "Orange", "aliases": None},
        {"entity_id": "oj", "entity": "Bravo Orange Juice", "aliases": []},
        {"entity_id": "gj", "entity": "玉露園の緑茶", "aliases": ["緑茶"]},
    ]
)
FAULTS = [*PATTERNS, "wrong_language", "other_entity", "unknown_code"]
SOUND = "The kettle has a red body with white dots, and a round label sits on the front."


def score(text: str | None, entity_id: str = "kx", **row: Any) -> pd.Series:
    sound = {"caption": "red kettle", "language": "en", "generator": "source"}
    frame = pd.DataFrame([{**sound, "entity_id": entity_id, "text": text, **row}])
    return score_explanations(frame, ENTITIES).iloc[0]


def faults(text: str | None, entity_id: str = "kx", **row: Any) -> dict[str, str]:
    found: dict[str, str] = score(text, entity_id, **row)[FAULTS].dropna().to_dict()
    return found


# ---------------------------------------------------------------- sound texts raise no alarm
@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        "A vase 30cm high and 2.5 kg, made in 1998; USB3, IP44 and ISO-9001 are printed on it.",
        "I'd say it can't be missed: 100 % cotton, A4 size, vitamin B12, article 4901234567894, open 9-17.",
        "The colours of the [left] panel are <20 % darker, and it costs 0120 yen & more.",
        "The KX-204B fits where the ZF-684K did, but its lid is red.",
        "The kx 204b is a red kettle with dots; KX204B stands on the label of it.",
        "It is sold as Marlo Venta, a kettle with an orange body and white dots on the front.",
    ],
)
def test_sound_english_has_no_fault(text: str) -> None:
    assert faults(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "赤い本体に白い水玉模様があり、正面に丸いラベルが付いたケトルです。",
        "マルロ・ヴェンタは、取っ手が青く塗られた赤いケトルです。品番KX-204B、容量1.5L。",
        "ソラ・ダネックスという別の商品とは違い、これは赤いケトルです。",
        "材質:天然木 原産国:日本 寸法:幅90奥行60高38",
    ],
)
def test_sound_japanese_has_no_fault(text: str) -> None:
    assert faults(text, language="ja") == {}


def test_grocery_descriptions_have_no_fault(grocery_path: Path) -> None:
    entities = [row for row in GrocerySource(grocery_path).entities() if isinstance(row, EntityRow)]
    texts = [
        {"entity_id": row.entity, "caption": row.entity, "text": text, "language": "en"}
        for row in entities
        for text in row.explanations
    ]
    table = pd.DataFrame([{"entity_id": r.entity, "entity": r.entity, "aliases": r.aliases} for r in entities])
    frame = score_explanations(pd.DataFrame(texts), table)
    assert len(frame) > 70
    assert frame[FAULTS].notna().sum().to_dict() == dict.fromkeys(FAULTS, 0)
    assert frame["repetition"].max() < 0.1
    assert frame["words"].min() >= 4
    assert frame["shared_by"].max() == 1


# ---------------------------------------------------------------- every fault is seen, and its words are kept
@pytest.mark.parametrize(
    ("fault", "value", "text"),
    [
        ("refusal", "As an AI", "As an AI model I cannot see it."),
        ("refusal", "I’m sorry", "I’m sorry, but there is no picture."),
        ("placeholder", "[insert colour]", "The kettle is [insert colour] with white dots."),
        ("placeholder", "{{colour}}", "The kettle is {{colour}} with white dots."),
        ("placeholder", "TODO", "TODO describe the kettle for the shop."),
        ("email", "sales@marlo.example", f"{SOUND} Write to sales@marlo.example."),
        ("email", "sales@marlo.example", f"{SOUND} Write to sales＠marlo.example."),
        ("email", "sales (at) marlo.example", f"{SOUND} Write to sales (at) marlo.example."),
        ("phone", "03-1234-5678", f"{SOUND} Call 03-1234-5678."),
        ("phone", "09012345678", f"{SOUND} Call 09012345678."),
        ("phone", "+81 3 1234 5678", f"{SOUND} Call +81 3 1234 5678."),
        ("url", "https://shop.example/kettle?x=1", f"{SOUND} https://shop.example/kettle?x=1"),
        ("markup", "<b>", f"<b>{SOUND}</b>"),
        ("control", "\0", f"{SOUND}\0"),
        ("control", "\ufffd", f"{SOUND} caf\ufffd"),
        ("wrong_language", "de", "Der Kessel ist rot, mit weißen Punkten und einem runden Etikett auf der Seite."),
        ("wrong_language", "fr", "La bouilloire est rouge avec des points blancs et une étiquette sur le devant."),
        ("wrong_language", "ja", "赤い本体に白い水玉模様があるケトルです。"),
        ("other_entity", "ZF-684K", "The ZF-684K is a purple mug with a plain finish."),
        ("other_entity", "ZF-684K", "Customers know the Sola Dane by its purple handle."),
        ("other_entity", "ZF-684K", "It is the zf 684 K: a purple mug with a plain finish."),
        ("other_entity", "ZF-684K", "Customers know the soladane by its purple handle."),
        ("unknown_code", "QQ-999Z", f"{SOUND} It is also sold as QQ-999Z."),
        ("unknown_code", "QQ-12345Z", f"{SOUND} It is also sold as QQ-12345Z."),
    ],
)
def test_a_fault_is_seen_and_its_words_are_kept(fault: str, value: str, text: str) -> None:
    assert faults(text) == {fault: value}


def test_a_japanese_text_about_another_product_is_seen_without_spaces() -> None:
    assert faults("紫色のソラ・ダネは無地のマグカップです。", language="ja") == {"other_entity": "ZF-684K"}
    assert faults("紫色のソラダネは無地のマグカップです。", language="ja") == {"other_entity": "ZF-684K"}


def test_a_code_is_seen_between_japanese_characters() -> None:
    assert faults("紫色のZF-684Kは無地のマグカップです。", language="ja") == {"other_entity": "ZF-684K"}
    assert faults("赤いケトルで、旧品番はQQ-999Zです。", language="ja") == {"unknown_code": "QQ-999Z"}
    assert score("赤いKX-204Bはケトルです。", language="ja")["names_itself"]


def test_a_piece_of_a_longer_katakana_word_is_no_name() -> None:
    bean = pd.DataFrame([{"entity_id": "bean", "entity": "ソラ", "aliases": ["Sora Two"]}])
    frame = pd.DataFrame([{"entity_id": "kx", "caption": "", "text": "緑色のソラマメの形です。", "language": "ja"}])
    assert score_explanations(frame, pd.concat([ENTITIES, bean]))["other_entity"].isna().all()


def test_an_english_text_declared_japanese_is_wrong() -> None:
    assert faults(SOUND, language="ja") == {"wrong_language": "en"}


def test_a_japanese_text_without_kana_is_still_not_english() -> None:
    assert faults("材質:天然木 原産国:日本 寸法:幅90奥行60高38") == {"wrong_language": "zh"}


def test_a_plain_word_that_is_also_a_name_counts_only_with_its_capital() -> None:
    assert faults("The cup has an orange body and is round.") == {}
    assert faults("The Orange is a fruit with a thick peel.") == {"other_entity": "Orange"}
    assert faults("Ready to drink Orange juice from concentrate.", "oj") == {}


def test_a_part_of_the_own_name_is_no_other_entity() -> None:
    assert faults("香り高い緑茶です。", "gj", language="ja") == {}
    assert score("香り高い緑茶です。", "gj", language="ja")["names_itself"]


def test_a_code_in_the_caption_is_known() -> None:
    assert faults(f"{SOUND} It replaces the QQ-999Z.", caption="KX-204B, formerly QQ-999Z") == {}


def test_without_model_numbers_in_the_names_no_code_is_invented() -> None:
    frame = pd.DataFrame([{"entity_id": "or", "caption": "", "text": f"{SOUND} QQ-999Z.", "language": "en"}])
    assert score_explanations(frame, ENTITIES[2:3])["unknown_code"].isna().all()


def test_a_swapped_text_without_a_name_cannot_be_seen_in_the_text() -> None:
    assert faults("Look for a mug in purple. The body shows a plain finish.") == {}


def test_an_undetectable_language_is_accepted() -> None:
    assert faults("Der Kessel ist rot, mit weißen Punkten und einem Etikett.", language="fi") == {}
    assert faults("Rot, weiß.", language="en") == {}
    assert faults("Der Kessel ist rot, mit weißen Punkten und einem Etikett.", language=None) == {}


# ---------------------------------------------------------------- numbers
def test_repetition_is_the_share_of_runs_that_came_before() -> None:
    assert score(SOUND)["repetition"] == 0
    assert score("It is a red kettle. " * 15)["repetition"] > 0.9
    assert score("赤いケトルです。" * 15, language="ja")["repetition"] > 0.9
    assert score("a" * 500)["repetition"] > 0.9


def test_two_japanese_characters_count_as_one_word() -> None:
    assert score("赤いケトル KX")["words"] == 4


@pytest.mark.parametrize(
    "text", [None, "", " \n ", "\0", "💡", "‮שלום עליכם‬", "…", "a" * 10**6, "\ud7ff", "A-1-" * 9999]
)
def test_rubbish_is_scored_and_never_a_crash(text: str | None) -> None:
    row = score(text)
    assert row["characters"] == len((text or "").replace("…", "...").strip())
    assert 0 <= row["repetition"] <= 1


def test_ten_thousand_identical_texts_are_shared_by_their_entities() -> None:
    entities = pd.DataFrame({"entity_id": [str(i) for i in range(10_000)], "entity": "same", "aliases": None})
    texts = pd.DataFrame({"entity_id": entities["entity_id"], "caption": "", "text": "No words.", "language": "en"})
    started = time.process_time()
    assert set(score_explanations(texts, entities)["shared_by"]) == {10_000}
    assert time.process_time() - started < 20


def test_an_empty_table_has_every_score() -> None:
    columns = ["entity_id", "caption", "text", "language"]
    empty = pd.DataFrame(columns=columns, dtype="str")
    assert {*FAULTS, "words", "shared_by"} <= set(score_explanations(empty, ENTITIES).columns)
