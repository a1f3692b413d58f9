from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest
import spacy

from entityclip.errors import ConfigError
from entityclip.explanations.pii import OVERLAP, PIECE, Redacted, Redactor, redact
from entityclip.explanations.pii_recognizers import my_number_check, upc_check
from entityclip.quality.patterns import first_hits

PERSONAL = [
    ("お問い合わせはtaro@example.jpまで", "お問い合わせは<EMAIL>まで"),
    ("ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐ", "<EMAIL>"),
    ("taro.yamada+shop@mail.example.co.jp, hanako@例え.jp", "<EMAIL>, <EMAIL>"),
    ("taro [at] example.co.jp", "<EMAIL>"),
    ("ta\u200bro@exa\u00admple.jp", "<EMAIL>"),
    ("ta\0ro@example.jp", "<EMAIL>"),
    ("電話は03-1234-5678です", "電話は<PHONE>です"),
    ("０３－１２３４－５６７８", "<PHONE>"),
    ("03ー1234ー5678", "<PHONE>"),
    ("03‐1234–5678", "<PHONE>"),
    ("(03)1234-5678", "<PHONE>"),
    ("0463(12)3456", "<PHONE>"),
    ("TEL03-1234-5678", "TEL<PHONE>"),
    ("Tel.0312345678", "Tel.<PHONE>"),
    ("090-1234-5678／08012345678", "<PHONE>／<PHONE>"),
    ("0120-123-456", "<PHONE>"),
    ("050-1234-5678", "<PHONE>"),
    ("+81 3-1234-5678", "<PHONE>"),
    ("+44 20 7946 0958", "<PHONE>"),
    ("〒100-0001 東京都千代田区", "〒<POSTAL_CODE> 東京都千代田区"),
    ("〒１００－０００１", "〒<POSTAL_CODE>"),
    ("郵便番号: 1000001", "郵便番号: <POSTAL_CODE>"),
    ("100-0001東京都", "<POSTAL_CODE>東京都"),
    ("1234 5678 9018", "<MY_NUMBER>"),
    ("マイナンバー１２３４５６７８９０１８", "マイナンバー<MY_NUMBER>"),
    ("4111 1111 1111 1111", "<CARD>"),
    ("378282246310005", "<CARD>"),
    ("GB82 WEST 1234 5698 7654 32", "<IBAN>"),
]


@pytest.mark.parametrize(("text", "masked"), PERSONAL)
def test_personal_data_is_masked_and_what_stands_around_it_stays(text: str, masked: str) -> None:
    found = redact(text, language="ja")
    assert found.text == masked
    assert sum(found.counts.values()) == masked.count("<")
    assert redact(masked, language="ja") == Redacted(masked)


NOBODYS = [
    "KX-204B",
    "0123-4567",
    "型番 0123-4567-89",
    "P/N 06-1234-5678",
    "AB-03-1234-5678",
    "03-1234-5678-B",
    "部品 100-0001 と 1000001",
    "JAN 4901234567894",
    "4901234567894",
    "UPC 036000291452",
    "ISBN 0306406152, 9780306406157",
    "1234 5678 9012",
    "4111 1111 1111 1112",
    "0312345678",
    "M8@12mm, 5@1.5mm, 3@2x4.8",
    "100x200x300 mm, 1,234,567円, 2026-11-23 10:30:00",
    "192.168.0.1, v1.2.3.4, CAS 7732-18-5",
    "AC100-240V 50/60Hz 1.5A, 10-12345-678",
]


@pytest.mark.parametrize("text", NOBODYS)
def test_codes_of_products_survive(text: str) -> None:
    assert redact(text, language="ja") == Redacted(text)


def test_the_rest_of_a_text_keeps_its_own_characters() -> None:
    text = "㈱ｱｵﾔﾏ の①番 👩\u200d🍳 連絡 ａ＠ｂ．ｊｐ ½"
    assert redact(text, language="ja").text == "㈱ｱｵﾔﾏ の①番 👩\u200d🍳 連絡 <EMAIL> ½"


def test_kinds_are_counted() -> None:
    found = redact("a@b.jp c@d.jp 090-1234-5678 〒100-0001", language="ja")
    assert found.counts == {"EMAIL": 2, "PHONE": 1, "POSTAL_CODE": 1}


def test_what_lies_across_two_pieces_of_a_long_text_is_found_once() -> None:
    for place in range(PIECE - OVERLAP - 20, PIECE + 20, 7):
        text = "x " * (place // 2) + " taro@example.jp " + "x " * 300
        assert redact(text, language="en").counts == {"EMAIL": 1}


@pytest.mark.parametrize(
    "text", ["", "\0", "@", "a@" * 100_000, "0" * 200_000, "1-" * 100_000, "\u202e" * 50_000, "a.b-" * 50_000]
)
def test_rubbish_is_read_in_seconds_and_stays_as_it_is(text: str) -> None:
    started = time.process_time()
    assert redact(text, language="xx").text == text
    assert time.process_time() - started < 20


def test_a_mark_that_a_model_copies_is_a_fault_of_its_text() -> None:
    masked = redact("The label says 090-1234-5678.", language="en").text
    assert first_hits(pa.array([masked]))["markup"].to_pylist() == ["<PHONE>"]


def test_check_digits() -> None:
    assert my_number_check("123456789018")
    assert sum(my_number_check(f"12345678901{d}") for d in range(10)) == 1
    assert upc_check("036000291452")
    assert not upc_check("036000291453")


# ---------------------------------------------------------------- names, by a pipeline of the user's
@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline that knows one person and one place by rule."""
    language = spacy.blank("en")
    ruler = language.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}, {"label": "GPE", "pattern": "Paris"}])  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("pipeline")
    language.to_disk(folder)
    return folder


def test_persons_are_found_where_a_pipeline_is_given_and_only_in_its_language(pipeline: Path) -> None:
    redactor = Redactor(names={"en": pipeline})
    text = "Jane Doe in Paris, jane@example.com"
    assert redactor.redact(text, language="en").text == "<PERSON> in Paris, <EMAIL>"
    assert redactor.redact(text, language="ja").text == "Jane Doe in Paris, <EMAIL>"


def test_a_folder_without_a_pipeline_is_named_and_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no spaCy pipeline"):
        Redactor(names={"en": tmp_path / "en_core_web_lg"})


def test_a_pipeline_that_spacy_cannot_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot load this pipeline"):
        Redactor(names={"en": tmp_path}).redact("Jane", language="en")
