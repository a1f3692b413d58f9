"""The comparison of designs as one HTML page, in English or Japanese, and its conclusion."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from entityclip.data.pairs import digest, read_frame
from entityclip.experiments.writer_designs.comparison import (
    ComparedMeasure,
    DesignComparison,
    JudgedDesign,
    MeanInterval,
)
from entityclip.paths import DataLayout
from entityclip.quality.claims.claim_examples import pictures_of
from entityclip.reports.pages import write_page
from entityclip.reports.words import Language, filled, texts_of

EXAMPLES = 8
"""Entities whose texts are shown side by side."""


class ShownText(NamedTuple):
    """A text of a design on the page."""

    text: str
    language: str
    rules: list[str]
    """Critical rules that it breaks."""
    claims: list[dict[Hashable, Any]]
    """Its claims, with verdicts where they were checked."""


class ShownEntity(NamedTuple):
    """An entity with its pictures and a text of each design."""

    name: str
    pictures: list[bytes]
    texts: list[ShownText | None]


class ComparedDesigns(NamedTuple):
    """What a page is about."""

    comparison: DesignComparison
    designs: Sequence[JudgedDesign]
    sample: Sequence[str]
    """Ids of the entities."""
    data: DataLayout
    """Where the entities and their pictures are."""
    checked_by: str
    """Name of the model that checked the claims; '' where none did."""


def write_comparison_page(path: Path, compared: ComparedDesigns, *, language: Language, day: datetime.date) -> None:
    """Write the page, atomically.

    Args:
        path: The HTML file.
        compared: What it is about.
        language: Of the page; texts of writers stay as they are.
        day: Of the comparison.
    """
    comparison = compared.comparison
    write_page(
        path,
        "explain_compare.html.j2",
        language=language,
        say=partial(_say, language),
        number=_number,
        comparison=comparison,
        designs=compared.designs,
        checked_by=compared.checked_by,
        data=str(compared.data.root),
        day=day,
        conclusion=conclusion(comparison, language),
        rules=_in_order(design.rules for design in comparison.designs),
        attributes=_in_order(design.verdicts for design in comparison.designs),
        examples=_examples(compared),
    )


def conclusion(comparison: DesignComparison, language: Language) -> Markup:
    """Which design is ahead on what, and where the intervals include zero."""
    first, *others = comparison.names
    clauses = []
    for place, other in enumerate(others, 1):
        decided = [m for m in comparison.measures if m.better and m.differences[place - 1] is not None]
        ahead = {who: [m for m in decided if m.ahead(place) == who] for who in (1, -1, 0)}
        for who, (winner, loser) in {1: (other, first), -1: (first, other)}.items():
            if ahead[who]:
                order = (place, 0) if who == 1 else (0, place)
                what = _list(language, [_against(language, measure, *order) for measure in ahead[who]])
                clauses.append(_say(language, "ahead", winner=winner, loser=loser, what=what))
        if not (ahead[1] or ahead[-1]):
            clauses.append(_say(language, "nowhere", first=first, other=other))
        if ahead[0]:
            names = _list(language, [_say(language, f"measure.{measure.name}") for measure in ahead[0]])
            clauses.append(_say(language, "open", what=names))
    return _say(language, "whole", clauses=_say(language, "between").join(clauses))


def _against(language: Language, measure: ComparedMeasure, winner: int, loser: int) -> Markup:
    """A measure with the values of two designs."""
    values = [_number(measure.values[place], measure.unit) for place in (winner, loser)]
    shown = [_say(language, measure.unit, value=value) for value in values]
    name = _say(language, f"measure.{measure.name}")
    return _say(language, "against", measure=name, winner=shown[0], loser=shown[1])


def _list(language: Language, parts: list[Markup]) -> Markup:
    """``a, b and c``."""
    head = _say(language, "comma").join(parts[:-1])
    return _say(language, "and").join([head, parts[-1]]) if head else parts[-1]


def _say(language: Language, key: str, /, **gaps: Any) -> Markup:
    return filled(texts_of(f"explain_compare.{language}")[key], language, **gaps)


def _number(estimate: MeanInterval | float | None, unit: str) -> str:
    """A mean, or one end of its interval, for people."""
    value = estimate.value if isinstance(estimate, MeanInterval) else estimate
    if value is None:
        return "–"
    size = abs(value)
    if unit == "percent" or 10 <= size < 100:
        text = f"{value:.1f}"
    elif size >= 100:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.2f}" if size >= 0.1 or not value else f"{value:.2g}"
    return text.replace("-", "−")


def _in_order(some: Any) -> list[str]:
    """Every key once."""
    return list(dict.fromkeys(key for keys in some for key in keys))


# ---------------------------------------------------------------- examples
def _examples(compared: ComparedDesigns) -> list[ShownEntity]:
    """The entities on which the verdicts of the designs differ most; a hash decides between equal ones."""
    known = read_frame(compared.data.entities, columns=["entity_id", "entity"]).drop_duplicates("entity_id")
    names = known.set_index("entity_id")["entity"].loc[list(compared.sample)]
    merits = pd.DataFrame({i: _merit(design) for i, design in enumerate(compared.designs)})
    merits = merits.reindex(names.index).fillna(0.0)
    spread = (merits.max(axis=1) - merits.min(axis=1)).to_dict()
    order = sorted(names.index, key=lambda entity: (-spread[entity], digest("example", entity)))[:EXAMPLES]
    pictures = pictures_of(compared.data, set(order))
    return [
        ShownEntity(
            str(names[entity]), pictures.get(entity, []), [_shown(design, entity) for design in compared.designs]
        )
        for entity in order
    ]


def _merit(design: JudgedDesign) -> pd.Series:
    """Of each entity: supported claims less contradicted ones."""
    if design.claims is None:
        return pd.Series(dtype=float)
    points = design.claims["verdict"].map({"supported": 1.0, "contradicted": -1.0}).fillna(0.0)
    return points.groupby(design.claims["entity_id"]).sum()


def _shown(design: JudgedDesign, entity: str) -> ShownText | None:
    """The first text of a design about an entity."""
    texts = design.written.texts
    places = [i for i, owner in enumerate(texts["entity_id"]) if owner == entity]
    if not places:
        return None
    place, row = places[0], texts.iloc[places[0]]
    claims = design.stated if design.claims is None else design.claims
    return ShownText(
        text=str(row["text"]),
        language=str(row["language"] or ""),
        rules=design.broken.loc[design.broken["position"] == place, "rule"].tolist(),
        claims=claims[claims["position"] == place].to_dict("records"),
    )
