"""Model card, data card and technical documentation of a release, for people: Markdown from the figures on record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from entityclip.architectures import name_of
from entityclip.data import pairs
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import DataLayout
from entityclip.reports.pages import page_environment
from entityclip.schemas import (
    SLICES,
    EvalReport,
    Metric,
    PackageCard,
    PromotionDecision,
    QualityReport,
    Runtime,
)

MOST = 12
"""Named rows of one table of the data card, at most; licences are all named."""

MARKS = re.compile(r"[\\`*\[#|~]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that Markdown reads as code, emphasis, link, heading or end of a cell."""


def _template(name: str) -> jinja2.Template:
    environment = page_environment()
    environment.filters["plain"] = _plain
    return environment.get_template(name)


def _plain(text: str) -> Markup:
    """One line that Markdown shows as it was written, also in a cell of a table."""
    return escape(MARKS.sub(r"\\\g<0>", " ".join(text.split())))


def model_card(
    package: PackageCard,
    model: CheckpointCard,
    *,
    decision: PromotionDecision,
    evaluation: EvalReport | None,
    runtimes: Sequence[Runtime],
) -> str:
    """What the model is for, its limits, its figures by slice, and why it was released."""
    known = _known(package, model, decision=decision, evaluation=evaluation, runtimes=runtimes)
    return _template("model_card.md.j2").render(known)


def annex_iv(
    package: PackageCard,
    model: CheckpointCard,
    *,
    decision: PromotionDecision,
    evaluation: EvalReport | None,
    quality: QualityReport | None,
    runtimes: Sequence[Runtime],
) -> str:
    """Technical documentation in the order of Annex IV of the EU AI Act: what is on record, and what to fill."""
    known = _known(package, model, decision=decision, evaluation=evaluation, runtimes=runtimes)
    return _template("annex_iv.md.j2").render(known, suite_hash=package.suite_hash, quality=quality)


def _known(
    package: PackageCard,
    model: CheckpointCard,
    *,
    decision: PromotionDecision,
    evaluation: EvalReport | None,
    runtimes: Sequence[Runtime],
) -> dict[str, Any]:
    """What the documents about a model show."""
    recalls = [] if evaluation is None else _recalls(evaluation)
    slices = [first for first, _ in recalls if first.slice != "all"]
    return {
        "release": package.release,
        "model": model,
        "towers": model.model.towers,
        "architecture": name_of(model.model.towers.architecture),
        "decision": decision,
        "evaluation": evaluation,
        "runtimes": runtimes,
        "recalls": recalls,
        "weakest": min(slices, key=lambda metric: metric.value, default=None),
        "targets": [] if evaluation is None else _targets(evaluation),
    }


def _recalls(evaluation: EvalReport) -> list[tuple[Metric, Metric]]:
    """R@1 and R@5 of the mixed index, of all queries and of each slice by training pictures."""
    found = {
        (metric.slice, metric.name): metric
        for metric in evaluation.metrics
        if (metric.index, metric.direction) == ("mixed", "image_to_text")
    }
    return [(found[name, "R@1"], found[name, "R@5"]) for name in ("all", *SLICES) if (name, "R@1") in found]


def _targets(evaluation: EvalReport) -> list[tuple[str, float, float | None, float]]:
    """Target precision, coverage, precision and false accepts."""
    value, rows = evaluation.open_set_value, []
    for metric in evaluation.open_set:
        name, _, target = metric.name.partition("_at_")
        accepts = value(f"false_accept_at_{target}")
        if metric.slice == "all" and name == "coverage" and accepts is not None:
            rows.append((target, metric.value, value(f"precision_at_{target}"), accepts))
    return rows


def data_card(package: PackageCard, data: DataLayout, *, quality: QualityReport | None) -> str:
    """What the data hold, who wrote the explanations, which rights they name, and what the rules found.

    Raises:
        DataError: The data are incomplete.
    """
    rows = pairs.read_frame(data.pairs, columns=["split", "language", "source", "licence"])
    texts = pairs.read_frame(data.explanations, columns=["generator", "reviewer"])
    return _template("data_card.md.j2").render(
        release=package.release,
        suite_hash=package.suite_hash,
        licences=package.licences,
        entities=len(pairs.read_frame(data.entities, columns=["entity_id"])),
        explanations=len(texts),
        splits=rows["split"].value_counts().to_dict(),
        parts={
            "Pictures by language": _counts(rows["language"]),
            "Pictures by source": _counts(rows["source"]),
            "Pictures by licence": _counts(rows["licence"], most=None),
            "Explanations by writer": _counts(texts["generator"]),
            "Explanations by reviewer": _counts(texts["reviewer"]),
        },
        quality=quality,
    )


def _counts(column: pd.Series, *, most: int | None = MOST) -> list[tuple[str, int]]:
    """The ``most`` frequent values with their number of rows, and the rest as one; None: every value."""
    counts = column.fillna("").replace("", "not named").value_counts()
    named = [(str(value), int(count)) for value, count in counts[:most].items()]
    rest = len(column) - sum(count for _, count in named)
    return [*named, ("others", rest)] if rest else named
