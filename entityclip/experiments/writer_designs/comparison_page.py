"""The comparison of designs as one HTML page, in English or Japanese, and its conclusion."""

from __future__ import annotations

import datetime
import math
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from entityclip.experiments.writer_designs.comparison import (
    ComparedMeasure,
    DesignComparison,
    DesignCounts,
    MeanInterval,
)
from entityclip.experiments.writer_designs.comparison_examples import ComparedDesigns, shown_entities
from entityclip.experiments.writer_designs.differing_settings import differing_settings
from entityclip.reports.pages import write_page
from entityclip.reports.words import Language, filled, texts_of

CLAIMS = ("supported", "contradicted", "not_checkable", "unusual")
"""Measures that are shares of the claims."""


def write_comparison_page(path: Path, compared: ComparedDesigns, *, language: Language, day: datetime.date) -> None:
    """Write the page, atomically.

    Args:
        path: The HTML file.
        compared: What it is about.
        language: Of the page; texts of writers stay as they are.
        day: Of the comparison.
    """
    comparison, words = compared.comparison, texts_of(f"explain_compare.{language}")
    write_page(
        path,
        "explain_compare.html.j2",
        language=language,
        say=partial(_say, language),
        number=_number,
        decimals=_decimals,
        base=partial(_base, comparison, language),
        comparison=comparison,
        designs=compared.designs,
        judge=compared.judge,
        settings=differing_settings([design.written.files for design in compared.designs]),
        unpriced=[design.written.name for design in compared.designs if not design.written.requests["money"].any()],
        rule_notes={key.removeprefix("rule."): text for key, text in words.items() if key.startswith("rule.")},
        terms={key.removeprefix("term."): text for key, text in words.items() if key.startswith("term.")},
        day=day,
        conclusion=conclusion(comparison, language),
        rules=_in_order(design.rules for design in comparison.designs),
        attributes=_in_order(design.verdicts for design in comparison.designs),
        examples=shown_entities(compared),
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
        equal = [measure for measure in ahead[0] if measure.equal(place)]
        if len(equal) < len(ahead[0]):
            undecided = [_against(language, measure, place, 0) for measure in ahead[0] if measure not in equal]
            clauses.append(_say(language, "open", winner=other, loser=first, what=_list(language, undecided)))
        if equal:
            names = [_say(language, f"measure.{measure.name}") for measure in equal]
            clauses.append(_say(language, "same", what=_list(language, names)))
    return _say(language, "whole", clauses=_say(language, "between").join(clauses))


def _against(language: Language, measure: ComparedMeasure, one: int, other: int) -> Markup:
    """A measure with the values of two designs."""
    values = [_number(measure.values[place], _decimals(measure)) for place in (one, other)]
    shown = [_say(language, measure.unit, value=value) for value in values]
    name = _say(language, f"measure.{measure.name}")
    return _say(language, "against", measure=name, winner=shown[0], loser=shown[1])


def _list(language: Language, parts: list[Markup]) -> Markup:
    """``a, b and c``."""
    head = _say(language, "comma").join(parts[:-1])
    return _say(language, "and").join([head, parts[-1]]) if head else parts[-1]


def _say(language: Language, key: str, /, **gaps: Any) -> Markup:
    return filled(texts_of(f"explain_compare.{language}")[key], language, **gaps)


def _number(estimate: MeanInterval | float | None, decimals: int) -> str:
    """A mean, or one end of its interval, for people."""
    value = estimate.value if isinstance(estimate, MeanInterval) else estimate
    return "–" if value is None else f"{value:,.{decimals}f}".replace("-", "−")


def _decimals(measure: ComparedMeasure) -> int:
    """Decimal places of every figure of a measure: of values, intervals and differences alike."""
    if measure.unit == "percent":
        return 1
    largest = max((abs(value.value) for value in measure.values if value is not None), default=0.0)
    if largest >= 10:
        return 0 if largest >= 100 else 1
    return 2 if largest >= 0.1 or not largest else 1 - math.floor(math.log10(largest))


def _base(comparison: DesignComparison, language: Language, measure: ComparedMeasure, design: DesignCounts) -> Markup:
    """How many claims, texts, entities, pictures or answers a value is the mean of."""
    if measure.name in CLAIMS:
        what, count = "claims", design.claims
    elif measure.name in ("claims", "supported_claims", "no_text"):
        what, count = "entities", comparison.entities
    elif measure.name in ("contradicted_texts", "set_aside", "words"):
        what, count = "texts", design.texts
    elif measure.name == "r1":
        what, count = "pictures", design.pictures
    else:
        what, count = "answers", design.answers
    return _say(language, f"base.{what}", count=f"{count:,}")


def _in_order(some: Any) -> list[str]:
    """Every key once."""
    return list(dict.fromkeys(key for keys in some for key in keys))
