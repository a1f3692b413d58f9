"""Faults that are injected into the drawn catalogue, to demonstrate ingest and gate.

A faulty picture is an extra row. A faulty text replaces one of the four texts of a product with many pictures, so that
the long tail is not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal, NamedTuple

from entityclip.data.sources.synthetic.products import FORMS, Product, explain, invent
from entityclip.data.sources.synthetic.render_photos import FIRST_TRAIN, PictureLine, Studio
from entityclip.schemas import Record

EACH = 2
"""Every kind of fault is planted so many times."""
FEWEST_PRODUCTS = 18
"""A smaller catalogue has no room for all faults."""
_FIRST_FAULTY = 100
"""Faulty pictures of a product are numbered from here on."""


class Fault(Record):
    """One injected fault: its place, and what detects it.

    ``file`` is the picture, or the table with the text in ``column``. ``caught_by`` is ``ingest``, a rule of the
    quality gate, or empty if texts and files do not reveal it; ``detail`` then gives the reason.
    """

    kind: str
    file: str
    product: str
    column: str
    detail: str
    caught_by: str


# ---------------------------------------------------------------- pictures
class PictureFault(NamedTuple):
    """Recipe of a faulty row.

    ``shows`` is the picture to use: a new one, one of the product's rows, or one of another product. ``spoil`` converts
    its bytes to those that are written.
    """

    kind: str
    detail: str
    caught_by: str
    shows: Literal["new", "own", "other"] = "new"
    captioned: bool = True
    spoil: Callable[[bytes], bytes] = lambda data: data


_ERROR_PAGE = b"<!doctype html><title>404 Not Found</title>\n"

PICTURE_FAULTS = (
    PictureFault(
        "truncated_picture", "half of the file is missing", "ingest", spoil=lambda data: data[: len(data) // 2]
    ),
    PictureFault("empty_picture", "the file has no bytes", "ingest", spoil=lambda _: b""),
    PictureFault("text_named_jpg", "an error page under a picture's name", "ingest", spoil=lambda _: _ERROR_PAGE),
    PictureFault("picture_twice", "the bytes of another row of this product", "picture_twice", shows="own"),
    PictureFault(
        "picture_of_two_products", "the bytes of another product's row", "picture_of_two_entities", shows="other"
    ),
    PictureFault("caption_missing", "a sound picture without a caption", "caption_missing", captioned=False),
)


# ---------------------------------------------------------------- texts
class Case(NamedTuple):
    """Input of a faulty text: the product with its correct text, another product, and one that does not exist.

    ``seed`` is the catalogue's; ``turn`` is 0 for the first fault of its kind and 1 for the second.
    """

    product: Product
    text: str
    other: Product
    absent: Product
    seed: int
    turn: int


class TextFault(NamedTuple):
    """Recipe of a faulty text."""

    kind: str
    detail: str
    caught_by: str
    write: Callable[[Case], str]


def _of_another(case: Case, form: str) -> str:
    """A correct text about the other product, in unique words: a duplicate would be easy to detect."""
    usual = explain(case.other, seed=case.seed)[form]
    wordings = (explain(case.other, seed=seed)[form] for seed in count(case.seed + 1))
    return next(text for text in wordings if text != usual)


_FOREIGN = (
    "Dieses Gerät hat ein glattes Gehäuse, auf der Vorderseite klebt ein kleines Etikett, und die Teile sind "
    "nicht alle in der gleichen Farbe lackiert.",
    "Este producto tiene una superficie lisa, con una pequeña etiqueta en la parte delantera, y no todas las "
    "piezas están pintadas del mismo color.",
)
_TOO_SHORT = ("n/a", "Nice one.")
_REFUSALS = (
    "As an AI language model, I cannot see the picture, so I am not able to describe the product that you ask for.",
    "I'm sorry, but I cannot help with this request. Please provide more information about the product.",
)
_PLACEHOLDERS = ("[insert colour]", "{{colour}}")

TEXT_FAULTS = (
    TextFault(
        "names_another_product",
        "the text of another product, whose model number it names",
        "names_another_entity",
        lambda case: _of_another(case, "explanation_a"),
    ),
    TextFault(
        "swapped",
        "the text of another product, without a name in it: every word is sound, only the picture contradicts it",
        "",
        lambda case: _of_another(case, "explanation_b"),
    ),
    TextFault(
        "invented_code",
        "a model number that no product has",
        "invented_code",
        lambda case: f"{case.text} It is also sold as {case.absent.code}.",
    ),
    TextFault("wrong_language", "not in English, as its row says", "wrong_language", lambda case: _FOREIGN[case.turn]),
    TextFault(
        "email",
        "an e-mail address",
        "email",
        lambda case: f"{case.text} Questions go to sales@{case.product.name_en.replace(' ', '-').lower()}.example.",
    ),
    TextFault("too_short", "too short to describe anything", "too_short", lambda case: _TOO_SHORT[case.turn]),
    TextFault(
        "refusal", "the boilerplate of a language model that refused", "refusal", lambda case: _REFUSALS[case.turn]
    ),
    TextFault(
        "placeholder",
        "an unfilled template field",
        "placeholder",
        lambda case: case.text.replace(case.product.look.body, _PLACEHOLDERS[case.turn]),
    ),
    TextFault(
        "repetition",
        "the same few words without end",
        "repetition",
        lambda case: f"It is a {case.product.look.body} {case.product.look.kind}. " * 15,
    ),
)


# ---------------------------------------------------------------- planting
def plant_pictures(studio: Studio, lines: list[PictureLine]) -> Iterator[Fault]:
    """For each fault, write a picture file and add its row to ``lines``."""
    for turn, fault in enumerate(PICTURE_FAULTS * EACH):
        index = studio.frequent[turn % len(studio.frequent)]
        jpeg = fault.spoil(_shown(studio, fault, turn))
        line = studio.file_away(jpeg, index, _FIRST_FAULTY + turn, split="train")
        lines.append(line if fault.captioned else line.model_copy(update={"caption": ""}))
        yield _listed(fault, file=line.file, product=line.code, column="" if fault.captioned else "caption")


def _shown(studio: Studio, fault: PictureFault, turn: int) -> bytes:
    """The correct picture that a fault modifies."""
    frequent = studio.frequent
    index = frequent[(turn + (fault.shows == "other")) % len(frequent)]
    known = FIRST_TRAIN + turn // len(PICTURE_FAULTS)
    return studio.shoot(index, _FIRST_FAULTY + turn if fault.shows == "new" else known)


def plant_texts(studio: Studio, texts: dict[str, dict[str, str]], *, table: str) -> Iterator[Fault]:
    """Replace one text in ``texts`` (code -> form -> text) for each fault; the first form is never replaced."""
    absent = invent(len(studio.products) + EACH, seed=studio.seed)[-EACH:]
    spoilable, frequent = FORMS[1:], studio.frequent
    for place, fault in enumerate(TEXT_FAULTS * EACH):
        index, turn = frequent[place % len(frequent)], place // len(TEXT_FAULTS)
        product, other = studio.products[index], studio.products[(index + 1) % len(studio.products)]
        # A second fault of the same product, where products are few, takes another form.
        form = spoilable[(place // len(frequent) + place % len(frequent)) % len(spoilable)]
        text = texts[product.code][form]
        case = Case(product, text=text, other=other, absent=absent[turn], seed=studio.seed, turn=turn)
        texts[product.code][form] = fault.write(case)
        yield _listed(fault, file=table, product=product.code, column=form)


def _listed(fault: PictureFault | TextFault, *, file: str, product: str, column: str) -> Fault:
    return Fault(
        kind=fault.kind, file=file, product=product, column=column, detail=fault.detail, caught_by=fault.caught_by
    )
