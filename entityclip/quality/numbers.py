"""Numbers and codes in a text that its sources do not hold."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

import pandas as pd

from entityclip.quality.names import CODE, STANDARDS

_TOKEN = re.compile(r"[A-Za-z]{0,6}-?[0-9][0-9.,]*[A-Za-z]{0,4}")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3})")
_LEAST_LETTERS, _LEAST_DIGITS = 2, 3
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


class KnownNumbers:
    """The known numbers of each entity: those in its names, and in the texts that the source provides.

    ``source_provided`` has the columns entity_id, text.
    """

    def __init__(self, entities: pd.DataFrame, source_provided: pd.DataFrame) -> None:
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        for entity_id, entity, aliases in zip(
            *(entities[name].tolist() for name in ("entity_id", "entity", "aliases")), strict=True
        ):
            self._add(entity_id, " ".join([entity or "", *(() if aliases is None else aliases)]))
        for entity_id, text in zip(
            source_provided["entity_id"].tolist(), source_provided["text"].fillna("").tolist(), strict=True
        ):
            self._add(entity_id, text)

    def _add(self, entity_id: str, text: str) -> None:
        if numbers := numbers_in(text):
            self._known[entity_id] |= numbers

    def unknown_code(self, text: str, *, entity_id: str, caption: str) -> str | None:
        """The first code of two letters and three digits at least whose number is unknown; for catalogues whose names
        hold no codes to compare with. Shorter ones (B12, E330, A380) are more often general knowledge than invented.
        """
        known = self._known.get(entity_id, set()) | numbers_in(caption)
        for code in CODE.findall(text):
            letters, digits = (sum(map(kind, code)) for kind in (str.isalpha, str.isdigit))
            if letters < _LEAST_LETTERS or digits < _LEAST_DIGITS or STANDARDS.fullmatch(code):
                continue
            if numbers_in(code) - known:
                return str(code)
        return None

    def unknown_number(self, text: str, *, entity_id: str, caption: str) -> str | None:
        """The first number or code in ``text`` (NFKC) that is neither in the caption nor in the entity's sources.

        Single digits are left out: they may be counted in the picture, such as handles or wheels.
        """
        known = self._known.get(entity_id, set()) | numbers_in(caption)
        for token in _TOKEN.findall(text):
            if {number for number in numbers_in(token) if len(number) > 1} - known:
                return str(token).rstrip(".,")
        return None


def numbers_in(text: str) -> set[str]:
    """The numbers of a text as they are compared: 1,200 is 1200, and in KX-204B stands 204."""
    return set(_NUMBER.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", text))))
