"""The run report: one self-contained HTML file about a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd
from pydantic import Field

from entityclip.errors import DataError
from entityclip.reports.cost_table import cost_rows
from entityclip.reports.examples import RetrievalExample
from entityclip.reports.improvements import first_step, pictures_title
from entityclip.reports.near_duplicates import SimilarPairs, near_duplicates_text
from entityclip.reports.pages import as_markup, write_page
from entityclip.reports.plots import (
    INDEX_KINDS,
    SLICE_TITLES,
    coverage_curve,
    found_within,
    loss_curve,
    recall_by_slice,
)
from entityclip.schemas import (
    SLICES,
    EvalReport,
    IngestReport,
    Metric,
    PromotionDecision,
    QualityReport,
    Record,
    Release,
    ReleaseCost,
    RuleResult,
    SealedLook,
)
from entityclip.storage import read_table

_EXCERPT_ROWS = 10
_SEVERITIES = ("critical", "warning", "info")


# ---------------------------------------------------------------- facts about the run
class StageFact(Record):
    """Time and reuse of one stage."""

    name: str
    seconds: float
    reused: bool = False
    reason: str = Field(default="", description="Why it was reused, or why it has to run.")


class RunFacts(Record):
    """Facts about the run as a whole."""

    finished: datetime
    stages: tuple[StageFact, ...] = ()
    data_hash: str | None = None
    model_fingerprint: str | None = None


# ---------------------------------------------------------------- recall by slice, for the page and the terminal
@dataclass(frozen=True)
class RecallRow:
    """One slice: a figure per index kind, in the order of INDEX_KINDS; None where it was not measured."""

    slice: str
    title: str
    queries: int
    cells: tuple[Metric | None, ...]

    def is_best(self, cell: Metric) -> bool:
        """Whether no other index found more in this slice."""
        return cell.value == max(c.value for c in self.cells if c)


def recall_rows(evaluation: EvalReport, *, metric: str = "R@1") -> list[RecallRow]:
    """Picture-to-entity recall of the slices that were measured, the rarest last, then all together."""
    found = {(m.slice, m.index): m for m in evaluation.metrics if (m.name, m.direction) == (metric, "image_to_text")}
    rows = []
    for name in (*SLICES, "all"):
        cells = tuple(found.get((name, index)) for index in INDEX_KINDS)
        measured = [c.queries for c in cells if c]
        if measured:
            rows.append(RecallRow(name, SLICE_TITLES[name], max(measured), cells))
    return rows


def slice_table(evaluation: EvalReport, *, metric: str = "R@1") -> str:
    """The same as plain text for a terminal: aligned, each figure with its 95 % interval."""
    header = ("entities by training pictures", "queries", *(f"{kind} index" for kind in INDEX_KINDS))
    lines = [header] + [
        (row.title, f"{row.queries:,}", *(_with_interval(cell) for cell in row.cells))
        for row in recall_rows(evaluation, metric=metric)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in lines]
    rule = "  ".join("-" * width for width in widths)
    chance = f"; chance {100 / evaluation.entities:.1f}" if metric == "R@1" and evaluation.entities else ""
    title = f"{metric} in percent, picture to entity, among {evaluation.entities:,} entities [95 % interval]{chance}"
    return "\n".join([title, text[0], rule, *text[1:]])


def _with_interval(cell: Metric | None) -> str:
    return f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]" if cell else "-"


# ---------------------------------------------------------------- the open set
OPEN_SET_COLUMNS = {
    "false accepts": "false_accept_at_",
    "coverage": "coverage_at_",
    "precision": "precision_at_",
    "a fifth unknown": "precision_with_unknown_at_",
}
"""Column -> the figure's name before its target."""


def open_set_rows(evaluation: EvalReport) -> list[dict[str, str | float]]:
    """A row per slice and target, in percent; a figure that was not measured is a dash."""
    names = {m.name for m in evaluation.open_set}
    targets = sorted({name.rpartition("_at_")[2] for name in names if "_at_" in name})
    rows: list[dict[str, str | float]] = []
    for part in (*SLICES, "all"):
        for target in targets:
            found = {m.name: m.value for m in evaluation.open_set if m.slice == part}
            if found:
                row: dict[str, str | float] = {"tagged entity": SLICE_TITLES[part], "target": target}
                row |= {column: found.get(name + target, "-") for column, name in OPEN_SET_COLUMNS.items()}
                rows.append(row | {"AUROC": found.get("auroc", "-"), "FPR at 95": found.get("fpr95", "-")})
    return rows


# ---------------------------------------------------------------- labels
@dataclass(frozen=True)
class LabelSummary:
    """What was read on the pictures of a data version."""

    pictures: int
    with_text: int
    entities: int
    """With words on a training picture."""
    words: Sequence[tuple[str, Sequence[str]]]
    """Some entities, each with the words that distinguish it best."""


# ---------------------------------------------------------------- the page
@dataclass(frozen=True, eq=False)
class ReportContent:
    """What the page of a run shows; sections without data are left out."""

    facts: RunFacts
    """When the run ended, its stages, its hashes."""
    ingest: IngestReport | None = None
    """Counts of the ingest; the file of rejected rows is quoted if it can be read."""
    quality: QualityReport | None = None
    """Result of the quality gate; the quarantine file likewise."""
    labels: LabelSummary | None = None
    evaluation: EvalReport | None = None
    """Figures by slice."""
    queries: pd.DataFrame | None = None
    """One row per query with ``index``, ``slice``, ``rank``."""
    losses: pd.DataFrame | None = None
    """``epoch`` or ``step``, ``loss`` and a column per term of the loss."""
    similar: Sequence[SimilarPairs] = ()
    """Pairs of pictures that resemble each other."""
    examples: Sequence[RetrievalExample] = ()
    """Hits and misses, in the order to show them."""
    explanations: Mapping[str, str] = field(default_factory=dict)
    """entity_id -> text, for the products whose explanation is to be rewritten."""
    decision: PromotionDecision | None = None
    release: Release | None = None
    """The release, if one was promoted."""
    sealed: SealedLook | None = None
    """Its figures on the sealed split, if there is one."""
    costs: Sequence[ReleaseCost] = ()
    """Of the last releases, oldest first."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """Next step -> shell command."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the run's page to ``path``, atomically.

    Raises:
        DataError: ``queries`` or ``losses`` lacks a column.
    """
    quality, evaluation, queries, losses = content.quality, content.evaluation, content.queries, content.losses
    _require_columns(queries, ("index", "slice", "rank"), what="queries")
    _require_columns(losses, ("loss", "step" if losses is None or "epoch" not in losses else "epoch"), what="losses")
    write_page(
        path,
        "report.html.j2",
        filters={"duration": _duration, "slice_title": _slice_title, "pictures_title": pictures_title},
        facts=content.facts,
        ingest=content.ingest,
        rejected=_excerpt(content.ingest.rejected_file if content.ingest else None),
        quality=quality,
        rules=_by_severity(quality.rules if quality else ()),
        quarantined=_excerpt(quality.quarantine_file if quality else None),
        validation_page=_link(quality.validation_page if quality else None),
        evaluation=evaluation,
        index_kinds=INDEX_KINDS,
        slice_titles=SLICE_TITLES,
        recall=recall_rows(evaluation) if evaluation else [],
        recall_plot=as_markup(recall_by_slice(evaluation) if evaluation else None),
        rank_plot=as_markup(found_within(queries) if queries is not None else None),
        open_set=open_set_rows(evaluation) if evaluation else [],
        coverage_plot=as_markup(coverage_curve(queries, evaluation) if evaluation and queries is not None else None),
        loss_plot=as_markup(loss_curve(losses) if losses is not None else None),
        similar=content.similar,
        labels=content.labels,
        near_duplicates=near_duplicates_text(evaluation) if evaluation else "",
        hits=[e for e in content.examples if e.rank == 1],
        misses=[e for e in content.examples if e.rank > 1],
        improvements=evaluation.improvements if evaluation else None,
        first_step=first_step(evaluation.improvements) if evaluation and evaluation.improvements else "",
        explanations=content.explanations,
        decision=content.decision,
        release=content.release,
        sealed=content.sealed,
        costs=cost_rows(content.costs),
        commands=content.commands,
    )


def _require_columns(frame: pd.DataFrame | None, columns: Iterable[str], *, what: str) -> None:
    missing = [c for c in columns if frame is not None and c not in frame]
    if frame is not None and missing:
        raise DataError(f"{what}: no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


def _slice_title(name: str) -> str:
    return SLICE_TITLES.get(name, name)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


# ---------------------------------------------------------------- parts of the page
@dataclass(frozen=True)
class Excerpt:
    """The first rows of a CSV file of a stage; no columns if it can no longer be read."""

    path: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def _excerpt(file: str | None) -> Excerpt | None:
    if not file:
        return None
    try:
        frame = read_table(Path(file), most=_EXCERPT_ROWS)
    except (OSError, ValueError):
        return Excerpt(file)
    return Excerpt(file, tuple(map(str, frame.columns)), tuple(frame.itertuples(index=False, name=None)))


def _by_severity(rules: Sequence[RuleResult]) -> list[RuleResult]:
    """Failed and severe rules first."""
    return sorted(rules, key=lambda r: (r.passed, not r.failed, _SEVERITIES.index(r.severity), -r.failed, r.rule))


def _link(file: str | None) -> str | None:
    """A ``file:`` address where the file exists here."""
    return Path(file).resolve().as_uri() if file and Path(file).is_file() else None
