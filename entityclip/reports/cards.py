"""Model card and data card of a release, for people: Markdown from the figures on record."""

from __future__ import annotations

from collections.abc import Sequence

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
"""Lines of one table of the data card, at most."""


def model_card(
    package: PackageCard,
    model: CheckpointCard,
    *,
    decision: PromotionDecision,
    evaluation: EvalReport | None,
    runtimes: Sequence[Runtime],
) -> str:
    """What the model is for, its limits, its figures by slice, and why it was released."""
    recalls = [] if evaluation is None else _recalls(evaluation)
    slices = [first for first, _ in recalls if first.slice != "all"]
    return (
        page_environment()
        .get_template("model_card.md.j2")
        .render(
            release=package.release,
            model=model,
            towers=model.model.towers,
            decision=decision,
            evaluation=evaluation,
            runtimes=runtimes,
            recalls=recalls,
            weakest=min(slices, key=lambda metric: metric.value, default=None),
            targets=[] if evaluation is None else _targets(evaluation),
        )
    )


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
    for target in ("0.8", "0.9", "0.95", "0.99"):
        coverage, accepts = value(f"coverage_at_{target}"), value(f"false_accept_at_{target}")
        if coverage is not None and accepts is not None:
            rows.append((target, coverage, value(f"precision_at_{target}"), accepts))
    return rows


def data_card(package: PackageCard, data: DataLayout, *, quality: QualityReport | None) -> str:
    """What the data hold, who wrote the explanations, which rights they name, and what the rules found.

    Raises:
        DataError: The data are incomplete.
    """
    rows = pairs.read_frame(data.pairs, columns=["split", "language", "source", "licence"])
    texts = pairs.read_frame(data.explanations, columns=["generator", "reviewer"])
    named = {
        "Pictures by language": rows["language"],
        "Pictures by source": rows["source"],
        "Pictures by licence": rows["licence"],
        "Explanations by writer": texts["generator"],
        "Explanations by reviewer": texts["reviewer"],
    }
    return (
        page_environment()
        .get_template("data_card.md.j2")
        .render(
            release=package.release,
            suite_hash=package.suite_hash,
            licences=package.licences,
            entities=len(pairs.read_frame(data.entities, columns=["entity_id"])),
            explanations=len(texts),
            splits=rows["split"].value_counts().to_dict(),
            parts={
                title: column.fillna("").replace("", "not named").value_counts().head(MOST).to_dict()
                for title, column in named.items()
            },
            quality=quality,
        )
    )
