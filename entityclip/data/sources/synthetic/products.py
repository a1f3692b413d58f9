"""Synthetic products: names, looks and descriptions.

Codes and names are drawn independently of looks, so captions carry no information about the appearance: they do not
reveal which picture shows a product that was never photographed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from entityclip.data.sources.synthetic.drawing import COLOURS, LABELS, PATTERNS, Look
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES
from entityclip.schemas import Record

_SYLLABLES = {
    "ba": "バ", "bel": "ベル", "da": "ダ", "dor": "ドル", "fi": "フィ", "ga": "ガ", "jo": "ジョ", "ka": "カ",
    "ko": "コ", "la": "ラ", "lo": "ロ", "lu": "ル", "ma": "マ", "mi": "ミ", "mon": "モン", "na": "ナ",
    "no": "ノ", "pa": "パ", "sa": "サ", "sel": "セル", "so": "ソ", "ta": "タ", "tor": "トル", "va": "ヴァ",
    "ven": "ヴェン", "vi": "ヴィ", "ya": "ヤ", "zan": "ザン", "ze": "ゼ", "zo": "ゾ",
}  # fmt: skip
"""Latin and katakana of the same sound."""

T = TypeVar("T")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Product(Record):
    """One product. ``code`` is the entity, the names are its aliases."""

    code: str
    name_en: str
    name_ja: str
    look: Look


def invent(count: int, *, seed: int) -> list[Product]:
    """The first ``count`` products of ``seed``; a larger count does not change them."""
    parts = zip(_codes(seed), _names(seed), _looks(seed), strict=False)
    return [
        Product(code=code, name_en=latin, name_ja=katakana, look=look)
        for code, (latin, katakana), look in islice(parts, count)
    ]


def _stream(*key: object) -> random.Random:
    return random.Random("/".join(map(str, key)))


def _unique(draw: Callable[[], T]) -> Iterator[T]:
    """Infinite draws without repetition."""
    seen: set[T] = set()
    while True:
        drawn = draw()
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def _codes(seed: int) -> Iterator[str]:
    """Model numbers like KX-204B."""
    rng = _stream(seed, "codes")
    return _unique(lambda: f"{''.join(rng.choices(_LETTERS, k=2))}-{rng.randint(100, 999)}{rng.choice(_LETTERS)}")


def _names(seed: int) -> Iterator[tuple[str, str]]:
    """Trade names of two words, Latin and katakana."""
    rng = _stream(seed, "names")

    def draw() -> tuple[str, str]:
        words = [rng.sample(list(_SYLLABLES), k=rng.choice((2, 2, 3))) for _ in range(2)]
        latin = " ".join("".join(word).capitalize() for word in words)
        return latin, "・".join("".join(_SYLLABLES[syllable] for syllable in word) for word in words)

    return _unique(draw)


def _looks(seed: int) -> Iterator[Look]:
    """Looks that differ in more than the label."""
    rng = _stream(seed, "looks")

    def draw() -> tuple[str, str, str, str]:
        body, accent = rng.sample(list(COLOURS), 2)
        return rng.choice(list(SILHOUETTES)), body, rng.choice(list(PATTERNS)), accent

    for kind, body, pattern, accent in _unique(draw):
        yield Look(kind=kind, body=body, pattern=pattern, accent=accent, label=rng.choice(list(LABELS)))


# ---------------------------------------------------------------- explanations
_SURFACES = {
    "plain": ("a plain surface without any pattern", "a plain finish and no pattern at all"),
    "vertical stripes": ("{accent} vertical stripes", "vertical stripes in {accent}"),
    "horizontal stripes": ("{accent} horizontal stripes", "horizontal stripes in {accent}"),
    "dots": ("{accent} dots all over", "round dots in {accent}"),
    "checks": ("{accent} checks", "a pattern of {accent} checks"),
    "zigzags": ("{accent} zigzags", "zigzags in {accent} running across"),
}
_LABELS = {
    "round": ("a small round label", "a round sticker"),
    "diamond": ("a diamond label", "a diamond-shaped sticker"),
    "nameplate": ("a nameplate that bears the model number", "a printed nameplate"),
}
_SENTENCES = {
    "explanation_a": (
        "The {code} is {a_body} {material}{kind} with {surface};[ its {count}{part} {is_are} {accent}, and] {label} "
        "{sits} on the front."
    ),
    "explanation_b": (
        "Look for a {material}{kind} in {body}. The body shows {surface}, {label} can be seen on it"
        "[, and the {count}{part} {is_are} {painted} {accent}]."
    ),
    "explanation_c": (
        "There is {label} on this {material}{kind}. Its main colour is {body}, it has {surface}"
        "[, and {accent} is the colour of the {count}{part}]."
    ),
    "explanation_d": (
        "Customers know the {name_en}[ by its {count}{accent} {part}]: a {material}{kind} {painted} {body}, "
        "showing {surface}, with {label} where the eye falls first."
    ),
}
"""By form; the words in brackets are about the part with the accent colour."""

FORMS = tuple(_SENTENCES)
"""The sentence forms: columns of the product table."""


class Alteration(NamedTuple):
    """What a text says beside the look of its product, or instead of it; a sound text has none."""

    part: str = ""
    """In the place of the part with the accent colour."""
    number: str = ""
    """How many of that part, with what separates the words."""
    material: str = ""
    """Of the product, likewise."""
    without_part: bool = False
    """Say nothing about that part."""


UNALTERED = Alteration()


def explain(product: Product, *, seed: int, altered: Alteration = UNALTERED) -> dict[str, str]:
    """Four texts, one per form, that each name the kind, both colours, the pattern and the label."""
    return {
        form: _sentence(product, about_part(sentence, altered), _stream(seed, product.code, form), altered)
        for form, sentence in _SENTENCES.items()
    }


def about_part(sentence: str, altered: Alteration) -> str:
    """The sentence with, or without, the words in brackets."""
    return re.sub(r"\[(.*?)\]", "" if altered.without_part else r"\1", sentence)


def _sentence(product: Product, sentence: str, rng: random.Random, altered: Alteration) -> str:
    look = product.look
    part = altered.part or SILHOUETTES[look.kind].accent_part
    return sentence.format(
        count=altered.number,
        material=altered.material,
        code=product.code,
        name_en=product.name_en,
        kind=look.kind,
        body=look.body,
        a_body=f"an {look.body}" if look.body[0] in "aeiou" else f"a {look.body}",
        accent=look.accent,
        part=part,
        is_are="are" if part.endswith("s") else "is",
        surface=rng.choice(_SURFACES[look.pattern]).format(accent=look.accent),
        label=rng.choice(_LABELS[look.label]),
        painted=rng.choice(("painted", "finished in")),
        sits=rng.choice(("sits", "is fixed")),
    )
