"""The figures that a report reads: assumptions of the criteria, results of the release, and what has been spent."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from entityclip.errors import DataError, faults
from entityclip.reports.value.criteria import TARGETS, Criteria
from entityclip.reports.value.figures import Figures, FigureUnit, SourceFile, pointer, resolve
from entityclip.schemas import EvalReport

CRITERIA = "criteria.yaml"
"""Name of the file of assumptions."""
STAGE_METRIC = 'entityclip_flow_stage_seconds{flow="retrain",of="%s"}'
"""Key of a stage's seconds among the metrics of the last run."""
FULL_TRAINING_SECONDS = 1.0
"""A training that took less was reused, so that the run's seconds are not those of a whole run."""

MORE_PICTURES: dict[str, FigureUnit] = {
    "products": "count",
    "fewest": "count",
    "most": "count",
    "gain": "points",
    "low": "points",
    "high": "points",
}
"""Fields of ``OneMorePicture`` -> their unit."""
RELEASE_COST: dict[str, FigureUnit] = {
    "tokens": "count",
    "cpu_seconds": "seconds",
    "gpu_seconds": "seconds",
    "storage_mb": "MB",
    "review_minutes": "minutes",
}
"""What a release uses up -> its unit."""


@dataclass(frozen=True)
class ReleaseEvidence:
    """The files that a report reads, as objects."""

    criteria: SourceFile
    evaluation: SourceFile
    promotion: SourceFile | None = None
    quality: SourceFile | None = None
    serving_check: SourceFile | None = None
    ledger: SourceFile | None = None
    """``total(tokens_in)``, ``total(tokens_out)``, ``total(money)`` of the table of answers, and ``release``: what the
    release cost, as ``ReleaseCost``.
    """
    learning_curve: SourceFile | None = None
    """What ``entityclip learning-curve`` measured with the settings of this release."""
    reviews: SourceFile | None = None
    """``total(minutes)`` of reviewers."""
    metrics: SourceFile | None = None
    """Lines of the last run's metrics for Prometheus: name with labels -> value."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Those that are there."""
        return tuple(part for part in vars(self).values() if part is not None)


# ---------------------------------------------------------------- what was assumed
_UNITS: dict[str, FigureUnit] = {
    "right_at_first_try": "percent",
    "right_in_the_end": "percent",
    "wrong_in_the_end": "percent",
    "minutes_per_picture": "minutes",
    "pictures_per_month": "count",
    "unknown_share": "percent",
    "minutes_per_suggestion": "minutes",
    "retrainings_per_month": "count",
}


def read_assumptions(figures: Figures, criteria: Criteria, source: SourceFile) -> None:
    """Add every number of the criteria."""
    figures.read("target_precision", source, "/decision/target_precision")
    for section in ("today", "workload", "money"):
        for field, value in getattr(criteria, section).model_dump().items():
            if isinstance(value, int | float):
                unit = _UNITS.get(field, "money")
                figures.read(f"{section}.{field}", source, pointer(section, field), unit=unit)
    for number, stage in enumerate(criteria.stages):
        for field in type(stage).model_fields:
            if field != "name":
                unit = "months" if field == "months" else _UNITS.get(field, "money")
                figures.read(f"stage.{number}.{field}", source, pointer("stages", number, field), unit=unit)
    for section in ("success", "withdrawal"):
        for field in getattr(criteria, section).named:
            unit = "money" if field == "min_net_per_month" else "months" if "months" in field else "percent"
            figures.read(f"{section}.{field}", source, pointer(section, field), unit=unit)


# ---------------------------------------------------------------- what was measured
def read_evaluation(figures: Figures, source: SourceFile) -> None:
    """Add recall, and the open set by target precision.

    Raises:
        DataError: The file is no evaluation of this version, or lacks R@1 or R@5 of the mixed index.
    """
    try:
        report = EvalReport.model_validate(source.content)
    except ValidationError as error:
        reason = f"{source.name}: is of another version ({faults(error)}); run the pipeline again: entityclip run"
        raise DataError(reason) from error
    figures.read("pictures", source, "/pictures", unit="count")
    figures.read("entities", source, "/entities", unit="count")
    places = {
        metric.name: number
        for number, metric in enumerate(report.metrics)
        if (metric.index, metric.direction, metric.slice) == ("mixed", "image_to_text", "all")
    }
    for name, recall in (("recall_at_1", "R@1"), ("recall_at_5", "R@5")):
        if recall not in places:
            raise DataError(f"{source.name}: has no {recall} of the mixed index; evaluate the release again")
        figures.read(name, source, pointer("metrics", places[recall]), unit="percent")
    _more_pictures(figures, report, source)
    open_set = {metric.name: number for number, metric in enumerate(report.open_set) if metric.slice == "all"}
    for target in TARGETS:
        if f"coverage_at_{target}" in open_set:
            _open_set(figures, open_set, target, source)


def _more_pictures(figures: Figures, report: EvalReport, source: SourceFile) -> None:
    """What one more picture of each product adds, for the group of products where it adds most."""
    rows = report.improvements.one_more_picture if report.improvements else ()
    known = [number for number, row in enumerate(rows) if row.gain is not None]
    if known:
        best = max(known, key=lambda number: rows[number].gain or 0.0)
        for name, unit in MORE_PICTURES.items():
            place = pointer("improvements", "one_more_picture", best, name)
            figures.read(f"more_pictures.{name}", source, place, unit=unit)


def read_learning_curve(figures: Figures, source: SourceFile) -> None:
    """What the last two parts of the training pictures give, and what a hundred more would."""
    last = len(source.content["points"]) - 1
    for name, part in (("before", last - 1), ("after", last)):
        figures.read(f"learning.{name}", source, pointer("points", part), unit="percent")
        figures.read(f"learning.pictures_{name}", source, pointer("points", part, "pictures"), unit="count")
    figures.read("learning.gain", source, pointer("gain"), unit="points")
    figures.read("learning.per_hundred", source, pointer("per_hundred"), unit="points")


def _open_set(figures: Figures, places: dict[str, int], target: float, source: SourceFile) -> None:
    """The figures at one target, and the share of sure tags that follows from their counts."""
    for name in ("coverage", "false_accept", "precision"):
        if f"{name}_at_{target}" in places:
            place = pointer("open_set", places[f"{name}_at_{target}"])
            figures.read(f"{name}_at_{target}", source, place, unit="percent")
            figures.read(f"{name}_pictures_at_{target}", source, f"{place}/queries", unit="count")
    coverage = figures[f"coverage_at_{target}"]
    known = figures.value(f"coverage_pictures_at_{target}")
    if f"precision_at_{target}" not in figures:  # no picture had a sure tag
        inputs = (f"coverage_at_{target}",)
        figures.derive(f"sure_at_{target}", 0.0, "no sure tags", inputs, unit="percent", ends=(0.0, 0.0))
        return
    sure = 100 * figures.value(f"precision_pictures_at_{target}") / known
    scale = sure / coverage.value if coverage.value else 0.0
    ends = [min(100.0, end * scale) if scale and end is not None else sure for end in (coverage.low, coverage.high)]
    figures.derive(
        f"sure_at_{target}",
        sure,
        "pictures with a sure tag / pictures; its interval is that of coverage, to scale",
        (f"precision_pictures_at_{target}", f"coverage_pictures_at_{target}", f"coverage_at_{target}"),
        unit="percent",
        ends=(ends[0], ends[1]),
    )


def read_costs(figures: Figures, evidence: ReleaseEvidence) -> float:
    """Read what has been spent; returns the seconds of a whole run, 0 where they are not on record."""
    counted: tuple[tuple[SourceFile | None, dict[str, tuple[str, FigureUnit]]], ...] = (
        (
            evidence.quality,
            {
                "accepted_pairs": ("/accepted_pairs", "count"),
                "quarantined_pairs": ("/quarantined_pairs", "count"),
                "accepted_explanations": ("/accepted_explanations", "count"),
                "quarantined_explanations": ("/quarantined_explanations", "count"),
            },
        ),
        (evidence.promotion, {"gain": ("/gain/points", "points"), "gain_low": ("/gain/low", "points")}),
        (evidence.serving_check, {"latency": ("/latency_ms", "ms"), "size": ("/size_mb", "MB")}),
        (
            evidence.ledger,
            {
                "tokens_in": ("/total(tokens_in)", "count"),
                "tokens_out": ("/total(tokens_out)", "count"),
                "writer_money": ("/total(money)", ""),
            },
        ),
        (evidence.reviews, {"review_minutes": ("/total(minutes)", "minutes")}),
    )
    for source, keys in counted:
        for name, (key, unit) in keys.items():
            if source is not None and _measured(source, key):
                figures.read(name, source, key, unit=unit)
    if evidence.ledger is not None and _measured(evidence.ledger, "/release"):
        _release_cost(figures, evidence.ledger)
    return _stages(figures, evidence.metrics)


def _release_cost(figures: Figures, ledger: SourceFile) -> None:
    """What the release cost since the one before it, and for each point of recall that it gained."""
    for name, unit in RELEASE_COST.items():
        figures.read(f"release.{name}", ledger, pointer("release", "spent", name), unit=unit)
    if not _measured(ledger, "/release/points"):
        return
    figures.read("release.points", ledger, "/release/points", unit="points")
    points = figures.value("release.points")
    if points <= 0:
        return
    for name, unit in RELEASE_COST.items():
        inputs = (f"release.{name}", "release.points")
        each = figures.value(inputs[0]) / points
        figures.derive(f"per_point.{name}", each, "spent / points gained", inputs, unit=unit)


def _measured(source: SourceFile, key: str) -> bool:
    try:
        return resolve(source.content, key) is not None
    except KeyError:
        return False


def _stages(figures: Figures, metrics: SourceFile | None) -> float:
    if metrics is None or metrics.content.get(STAGE_METRIC % "train", 0.0) < FULL_TRAINING_SECONDS:
        return 0.0
    head, tail = STAGE_METRIC.split("%s")
    stages = [line[len(head) : -len(tail)] for line in metrics.content if line.startswith(head)]
    for stage in stages:
        figures.read(f"seconds.{stage}", metrics, pointer(STAGE_METRIC % stage), unit="seconds")
    total = sum(figures.value(f"seconds.{stage}") for stage in stages)
    figures.derive("run_seconds", total, "sum of the stages", [f"seconds.{stage}" for stage in stages], unit="seconds")
    return total
