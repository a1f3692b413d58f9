"""Inject faults into texts, to measure what the scores detect and to fit the text-quality model."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import pandas as pd

from entityclip.quality.fault_templates import BESIDE, INSTEAD

Kind = Literal[
    "swapped_sibling",
    "swapped_group",
    "duplicated",
    "invented_code",
    "wrong_language",
    "refusal",
    "truncated",
    "personal_data",
    "injected",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
SWAPS: tuple[Kind, ...] = ("swapped_sibling", "swapped_group")
COPIES = 5
"""Entities that share a text after it was duplicated."""

_OWNER = ["entity_id", "caption"]
_CODE = re.compile(r"\b[A-Z]{1,4}-?[0-9]{2,5}[A-Z]?\b")


class Unit(NamedTuple):
    """Texts of one entity that receive a fault together; ``rows`` are their positions in the table."""

    entity_id: str
    category: str
    rows: list[int]


def inject_faults(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    *,
    share: float,
    kinds: Sequence[Kind] = KINDS,
    by: Literal["text", "entity"] = "text",
    seed: int = 0,
) -> pd.DataFrame:
    """``explanations`` with faults in a ``share`` of them, the same number of each kind; deterministic.

    - ``swapped_sibling`` and ``swapped_group``: two texts exchange ``entity_id`` and ``caption``, within one category
      or across two. The words stay as they are, and no text occurs twice. Where no row names a category, all entities
      are siblings.
    - ``duplicated``: one text for ``COPIES`` entities, each copy with its own entity's name where it named one. All
      of them are marked, including the original.
    - ``invented_code``, ``personal_data``, ``injected``: an extra sentence with a code that no entity has, an e-mail
      address or telephone number, or an instruction to the reader.
    - ``wrong_language``, ``refusal``: the text is replaced.
    - ``truncated``: the text ends within a word.

    A kind that finds too few rows (such as no two entities of one category) is injected less often.

    Args:
        explanations: Texts without faults: entity_id, caption, text, language.
        entities: The entity table: entity_id, entity, aliases, category.
        share: Of the texts, or of the entities, 0 to 1.
        kinds: Which faults.
        by: Whether single texts get a fault, or all texts of an entity together.
        seed: Of all random choices.

    Returns:
        The same rows in the same order, with the column ``injected_fault``: the kind, or missing. ``explanation_id``
        is kept.
    """
    texts = {column: explanations[column].tolist() for column in (*_OWNER, "text", "language")}
    injector = _FaultInjector(texts, names=_names(entities), rng=random.Random(seed))
    marks: list[Kind | None] = [None] * len(explanations)
    units = _units(explanations, entities, by=by)
    wanted = share * len(units) / max(1, len(kinds))
    injector.rng.shuffle(units)
    for kind in sorted(kinds, key=KINDS.index):  # kinds that need partners first, while there are many
        groups = _groups(kind, units, wanted, injector.rng)
        taken = {id(unit) for group in groups for unit in group}
        units = [unit for unit in units if id(unit) not in taken]
        for group in groups:
            injector.inject(group, kind)
            for row in (row for unit in group for row in unit.rows):
                marks[row] = kind
    columns = {name: pd.Series(cells, index=explanations.index, dtype="str") for name, cells in texts.items()}
    return explanations.assign(**columns, injected_fault=pd.Series(marks, index=explanations.index, dtype="str"))


def _names(entities: pd.DataFrame) -> dict[str, list[str]]:
    columns = (entities[column].tolist() for column in ("entity_id", "entity", "aliases"))
    return {key: [name, *(() if other is None else other)] for key, name, other in zip(*columns, strict=True)}


# ---------------------------------------------------------------- which texts
def _units(explanations: pd.DataFrame, entities: pd.DataFrame, *, by: str) -> list[Unit]:
    """The units of injection: single texts, or all texts of an entity."""
    category = dict(zip(entities["entity_id"], entities["category"].fillna(""), strict=True))
    owners = explanations["entity_id"].tolist()
    rows_of: dict[str | int, list[int]] = {}
    for row, owner in enumerate(owners):
        rows_of.setdefault(owner if by == "entity" else row, []).append(row)
    return [Unit(owners[rows[0]], category.get(owners[rows[0]], ""), rows) for rows in rows_of.values()]


def _groups(kind: Kind, units: list[Unit], wanted: float, rng: random.Random) -> list[list[Unit]]:
    """About ``wanted`` units, in groups that get one fault together."""
    if kind == "swapped_sibling":
        found = _runs(sorted(units, key=lambda unit: unit.category), 2, lambda a, b: a.category == b.category)
        rng.shuffle(found)
    elif kind == "swapped_group":
        found = _runs(units, 2, lambda a, b: a.category != b.category)
    elif kind == "duplicated":
        found = _runs(units, COPIES, lambda *_: True)
    else:
        found = [[unit] for unit in units]
    return found[: round(wanted / len(found[0]))] if found else []


def _runs(units: list[Unit], size: int, fit: Callable[[Unit, Unit], bool]) -> list[list[Unit]]:
    """Groups of ``size`` neighbours of different entities, each of which ``fit``s the first."""
    found: list[list[Unit]] = []
    group: list[Unit] = []
    for unit in units:
        if group and (not fit(group[0], unit) or unit.entity_id in {member.entity_id for member in group}):
            group = []
        group.append(unit)
        if len(group) == size:
            found.append(group)
            group = []
    return found


# ---------------------------------------------------------------- the faults
class _FaultInjector:
    """Changes columns of texts in place."""

    def __init__(self, texts: dict[str, list[str]], *, names: dict[str, list[str]], rng: random.Random) -> None:
        self._texts, self._names, self.rng = texts, names, rng
        self._known = {name for some in names.values() for name in some}
        self._like = next((name for name in sorted(self._known) if _CODE.fullmatch(name)), "RX-4821B")

    def inject(self, group: list[Unit], kind: Kind) -> None:
        """Inject one fault into a group of units."""
        if kind in SWAPS:
            self._swap(*group)
        elif kind == "duplicated":
            self._copy(*group)
        else:
            for row in group[0].rows:
                japanese = (self._texts["language"][row] or "").startswith("ja")
                self._texts["text"][row] = self._with_fault(kind, self._texts["text"][row], "ja" if japanese else "en")

    def _swap(self, one: Unit, other: Unit) -> None:
        for column in _OWNER:
            cells = self._texts[column]
            ours, theirs = cells[one.rows[0]], cells[other.rows[0]]
            for unit, value in ((one, theirs), (other, ours)):
                for row in unit.rows:
                    cells[row] = value

    def _copy(self, original: Unit, *twins: Unit) -> None:
        """Copy the first unit's texts to all others, each with the names of its own entity."""
        texts = self._texts["text"]
        for twin in twins:
            for place, row in enumerate(twin.rows):
                text = texts[original.rows[place % len(original.rows)]]
                for name, own in zip(self._names[original.entity_id], self._names[twin.entity_id], strict=False):
                    text = text.replace(name, own)
                texts[row] = text

    def _with_fault(self, kind: Kind, text: str, language: str) -> str:
        if kind == "truncated":
            return _cut(text, self.rng)
        if kind in INSTEAD:
            return self.rng.choice(INSTEAD[kind][language])
        sentence = self.rng.choice(BESIDE[kind][language])
        between = "" if language == "ja" else " "
        return text + between + sentence.format(code=self._absent_code(), n=self.rng.randint(1000, 9999))

    def _absent_code(self) -> str:
        """A model number of the form that the catalogue uses, if it has any, and that no entity has."""
        pools = (("123456789", str.isdigit), ("ABCDEFGHJKLMNPQRSTUVWXYZ", str.isalpha))
        while True:
            code = "".join(
                next((self.rng.choice(pool) for pool, fits in pools if fits(sign)), sign) for sign in self._like
            )
            if code not in self._known:
                return code


def _cut(text: str, rng: random.Random) -> str:
    """``text`` up to the middle of one of its words, as when a writer runs out of tokens."""
    places = [match.start() + len(match[0]) // 2 for match in re.finditer(r"[^\W\d_]{4,}", text)]
    late = [place for place in places if place > 0.4 * len(text)] or [max(1, len(text) // 2)]
    return text[: rng.choice(late)]
