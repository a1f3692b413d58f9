"""Texts of the drawn catalogue that are wrong in one attribute: what a language model gets wrong about a picture.

The generator writes the text again with one attribute changed, so that all other words stay and the truth is known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal, get_args

from entityclip.data.sources.synthetic.drawing import COLOURS, LABELS, PATTERNS
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import FORMS, UNALTERED, Alteration, Product, explain
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES

AttributeFault = Literal[
    "colour",
    "second_colour",
    "pattern",
    "part",
    "label",
    "count",
    "material",
    "invented_part",
    "omitted_part",
]
ATTRIBUTE_FAULTS: tuple[AttributeFault, ...] = get_args(AttributeFault)

_MATERIALS = {
    "en": ("wooden ", "glass ", "wicker ", "leather ", "marble "),
    "ja": ("木製の", "ガラス製の", "籐製の", "革製の", "大理石の"),
}
_INVENTED = {
    "en": (
        " A crack runs across one side.",
        " A small switch sits on the back.",
        " A QR code is printed below it.",
        " A metal chain hangs from the top.",
        " There are two screws in every corner.",
    ),
    "ja": (
        "側面にひびが入っています。",
        "背面に小さなスイッチがあります。",
        "その下にQRコードが印刷されています。",
        "上部から金属の鎖が下がっています。",
        "四隅にねじが2本ずつあります。",
    ),
}


def with_attribute_fault(
    product: Product, fault: AttributeFault, *, language: Literal["en", "ja"], seed: int, rng: random.Random
) -> dict[str, str]:
    """The product's texts by form, each with the same fault.

    - ``colour``, ``second_colour``, ``pattern``, ``label``: another value than the look has, wherever the text names
      it. The second colour is that of the pattern and of one part.
    - ``part``: the part of another kind of product. ``count``: two of the part, or six where there are several.
    - ``material``: one that is not visible. ``invented_part``: an extra sentence about something that is not there.
    - ``omitted_part``: the text says nothing about the part. All that it says stays true.

    Args:
        product: The product with its look.
        fault: Which fault.
        language: Of the texts.
        seed: That of the catalogue; the texts without a fault are those that it holds.
        rng: Draws the wrong value.
    """
    look, part, altered = product.look, SILHOUETTES[product.look.kind].accent_part, UNALTERED
    if fault == "colour":
        look = look.model_copy(update={"body": _another(COLOURS, rng, look.body, look.accent)})
    elif fault == "second_colour":
        look = look.model_copy(update={"accent": _another(COLOURS, rng, look.body, look.accent)})
    elif fault == "pattern":
        look = look.model_copy(update={"pattern": _another(PATTERNS, rng, look.pattern)})
    elif fault == "label":
        look = look.model_copy(update={"label": _another(LABELS, rng, look.label)})
    elif fault == "part":
        altered = Alteration(part=_another(dict.fromkeys(s.accent_part for s in SILHOUETTES.values()), rng, part))
    elif fault == "count":
        altered = _miscounted(part, language)
    elif fault == "material":
        altered = Alteration(material=rng.choice(_MATERIALS[language]))
    elif fault == "omitted_part":
        altered = Alteration(without_part=True)
    write = explain if language == "en" else explain_in_japanese
    texts = write(product.model_copy(update={"look": look}), seed=seed, altered=altered)
    beside = rng.choice(_INVENTED[language]) if fault == "invented_part" else ""
    return {form: texts[form] + beside for form in FORMS}


def _another(values: Iterable[str], rng: random.Random, *known: str) -> str:
    """One of the values that is not ``known``."""
    return rng.choice([value for value in values if value not in known])


def _miscounted(part: str, language: str) -> Alteration:
    several = part.endswith("s")
    if language == "ja":
        return Alteration(number="6つの" if several else "2つの")
    return Alteration(number="six ") if several else Alteration(part=f"{part}s", number="two ")
