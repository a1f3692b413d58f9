"""Each fault that the drawn catalogue plants is really there."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from entityclip.data.sources.catalog import draw_catalog, injected_faults
from entityclip.data.sources.synthetic.faults import EACH, PICTURE_FAULTS, TEXT_FAULTS, Fault
from entityclip.data.sources.synthetic.products import explain, invent

PRODUCTS = invent(18, seed=7)
BY_CODE = {product.code: product for product in PRODUCTS}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "catalog"
    draw_catalog(folder, products=len(PRODUCTS), size=48)
    return folder


def table(folder: Path, name: str, *, key: str) -> dict[str, dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        return {row[key]: row for row in csv.DictReader(stream)}


def of_kind(folder: Path, kind: str) -> list[Fault]:
    found = [fault for fault in injected_faults(folder) if fault.kind == kind]
    assert len(found) == EACH
    return found


def texts(folder: Path, kind: str) -> list[tuple[Fault, str]]:
    """The faulty texts of a kind, each other than the sound text of its cell."""
    products = table(folder, "products.csv", key="code")
    found = [(fault, products[fault.product][fault.column]) for fault in of_kind(folder, kind)]
    for fault, text in found:
        assert text != explain(BY_CODE[fault.product], seed=7)[fault.column]
    return found


# ---------------------------------------------------------------- the list
def test_every_kind_is_planted_and_listed(drawn: Path) -> None:
    kinds = Counter(fault.kind for fault in injected_faults(drawn))
    assert kinds == {fault.kind: EACH for fault in (*PICTURE_FAULTS, *TEXT_FAULTS)}


def test_only_a_swap_without_a_name_escapes_rules_on_texts_and_files(drawn: Path) -> None:
    escaped = [fault for fault in injected_faults(drawn) if not fault.caught_by]
    assert {fault.kind for fault in escaped} == {"swapped"}
    assert all("only the picture contradicts it" in fault.detail for fault in escaped)


def test_cells_without_a_fault_are_sound(drawn: Path) -> None:
    faulty = {(fault.product, fault.column) for fault in injected_faults(drawn) if fault.file == "products.csv"}
    assert len(faulty) == EACH * len(TEXT_FAULTS)
    for code, row in table(drawn, "products.csv", key="code").items():
        sound = {form: text for form, text in explain(BY_CODE[code], seed=7).items() if (code, form) not in faulty}
        assert "explanation_a" in sound
        assert sound.items() <= row.items()


def test_a_catalogue_without_faults_lists_none(tmp_path: Path) -> None:
    draw_catalog(tmp_path / "catalog", products=2, faults=False, size=32)
    assert injected_faults(tmp_path / "catalog") == ()


# ---------------------------------------------------------------- pictures
def test_truncated_picture_has_a_header_and_no_end(drawn: Path) -> None:
    for fault in of_kind(drawn, "truncated_picture"):
        picture = Image.open(io.BytesIO((drawn / fault.file).read_bytes()))
        with pytest.raises(OSError, match="truncated"):
            picture.load()


def test_empty_picture_has_no_bytes(drawn: Path) -> None:
    assert all((drawn / fault.file).stat().st_size == 0 for fault in of_kind(drawn, "empty_picture"))


def test_text_named_jpg_is_a_page(drawn: Path) -> None:
    for fault in of_kind(drawn, "text_named_jpg"):
        assert fault.file.endswith(".jpg")
        assert (drawn / fault.file).read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(("kind", "same_product"), [("picture_twice", True), ("picture_of_two_products", False)])
def test_picture_stands_in_two_rows(drawn: Path, kind: str, same_product: bool) -> None:
    rows = table(drawn, "pictures.csv", key="file")
    sound = rows.keys() - {fault.file for fault in injected_faults(drawn)}
    for fault in of_kind(drawn, kind):
        data = (drawn / fault.file).read_bytes()
        twins = [file for file in sound if (drawn / file).read_bytes() == data]
        assert len(twins) == 1
        assert (rows[twins[0]]["code"] == fault.product) is same_product
        assert rows[twins[0]]["split"] == rows[fault.file]["split"] == "train"


def test_caption_missing_is_an_empty_cell_beside_a_sound_picture(drawn: Path) -> None:
    rows = table(drawn, "pictures.csv", key="file")
    for fault in of_kind(drawn, "caption_missing"):
        assert rows[fault.file]["caption"] == ""
        Image.open(drawn / fault.file).load()


# ---------------------------------------------------------------- texts
def test_names_another_product_by_its_code(drawn: Path) -> None:
    for fault, text in texts(drawn, "names_another_product"):
        named = [code for code in BY_CODE if code in text]
        assert len(named) == 1
        assert named != [fault.product]


def test_swapped_describes_another_product_and_names_none(drawn: Path) -> None:
    for fault, text in texts(drawn, "swapped"):
        assert not [p for p in PRODUCTS if p.code in text or p.name_en in text]
        look = BY_CODE[fault.product].look
        assert not all(word in text for word in (look.kind, look.body, look.pattern, look.accent))
        assert text not in {sound for p in PRODUCTS for sound in explain(p, seed=7).values()}


def test_invented_code_belongs_to_no_product(drawn: Path) -> None:
    for fault, text in texts(drawn, "invented_code"):
        codes = set(re.findall(r"[A-Z]{2}-\d{3}[A-Z]", text)) - {fault.product}
        assert len(codes) == 1
        assert not codes & BY_CODE.keys()


def test_wrong_language_is_not_english(drawn: Path) -> None:
    for _, text in texts(drawn, "wrong_language"):
        assert not {"the", "is", "with", "and", "it"} & set(text.lower().split())


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("email", r"\w+@[\w-]+\.example"),
        ("too_short", r"^.{1,12}$"),
        ("refusal", r"I cannot"),
        ("placeholder", r"\[insert colour\]|\{\{colour\}\}"),
        ("repetition", r"^(It is a \w+ \w+\. ){14}"),
    ],
)
def test_text_bears_the_sign_of_its_fault(drawn: Path, kind: str, sign: str) -> None:
    for _, text in texts(drawn, kind):
        assert re.search(sign, text)
