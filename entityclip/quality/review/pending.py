"""Texts and pictures that the gate quarantined, as a reviewer sees them, and the decision about each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from entityclip.data import pairs
from entityclip.errors import DataError
from entityclip.paths import DataLayout, Layout
from entityclip.quality.quarantine_file import broken_pairs, broken_texts
from entityclip.quality.review.decisions import NEVER_WAIVED, Review, Table
from entityclip.schemas import QualityReport, Record


class BrokenRule(Record):
    """A critical rule that a text broke."""

    rule: str
    value: str = ""
    """What broke it; '' where the rule names nothing."""

    @property
    def shown(self) -> str:
        """The value as a page shows it: a measured number, which has many decimals, with two."""
        whole, _, decimals = self.value.partition(".")
        return f"{float(self.value):.2f}" if len(decimals) > 3 and (whole + decimals).isdecimal() else self.value


class PendingText(Record):
    """One text that the gate quarantined, or one picture with its caption."""

    explanation_id: str
    """Of a picture, its pair_id."""
    entity_id: str
    entity: str
    category: str
    language: str
    rules: str
    values: str
    text: str
    generator: str
    """Of a picture, its source."""
    broken: tuple[BrokenRule, ...] = ()
    table: Table = "explanations"

    @property
    def is_picture(self) -> bool:
        """Whether a picture was quarantined, not a text."""
        return self.table == "pairs"

    def decided(self, *, reviewer: str, **filled_in: Any) -> Review:
        """The decision about this text: the row that every way of deciding stores.

        Args:
            reviewer: Who decided.
            **filled_in: ``decision``, ``edited_text``, ``minutes`` and ``note``, as of ``Review``.

        Raises:
            ValidationError: They do not make a decision.
        """
        about = self.model_dump(include={"explanation_id", "entity_id", "entity", "rules", "text", "table"})
        return Review(**about, **filled_in, reviewer=reviewer.strip(), day=datetime.now(UTC).date())


def quarantine_of(layout: Layout) -> Path | None:
    """The quarantine file of the rows in staging; None where the gate quarantined nothing, or has not run."""
    report = QualityReport.read(layout.staging_quality) or QualityReport.read(layout.report("quality"))
    if report is None or report.quarantine_file is None:
        return None
    path = layout.root / report.quarantine_file
    return path if path.exists() else None


def pending_texts(quarantine: Path, data: DataLayout) -> list[PendingText]:
    """The texts that ``quarantine`` lists, then the pictures that a decision can return, each once, in its order.

    Args:
        quarantine: CSV that the gate wrote.
        data: The staging that the file is about: it holds the full texts.

    Raises:
        DataError: The file is not a quarantine file, or is of another batch than the staging.
    """
    lines = broken_texts(quarantine)
    texts = pairs.read_frame(data.explanations).drop_duplicates("explanation_id")
    entities = pairs.read_frame(data.entities, columns=["entity_id", "entity", "category"])
    known = texts.merge(entities, on="entity_id", how="left").fillna("").set_index("explanation_id")
    strange = sorted(set(lines["id"]) - set(known.index))
    if strange:
        raise DataError(
            f"{quarantine}: text {strange[0]} is not in {data.explanations}; the file is of another batch. "
            "Export the quarantine file of the last run"
        )
    about = known.loc[lines["id"].unique(), _ABOUT].to_dict("index")
    return [*_pending(lines, about, table="explanations"), *_pending_pictures(quarantine, data)]


_ABOUT = ["entity_id", "entity", "category", "language", "text", "generator"]


def returnable(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of ``broken_pairs`` about pictures that broke no rule of ``NEVER_WAIVED``."""
    return lines[~lines["id"].isin(lines.loc[lines["rule"].isin(NEVER_WAIVED), "id"])]


def _pending_pictures(quarantine: Path, data: DataLayout) -> Iterator[PendingText]:
    lines = returnable(broken_pairs(quarantine))
    if lines.empty:
        return
    columns = ["pair_id", "entity_id", "entity", "category", "language", "caption", "source"]
    rows = pairs.read_frame(data.pairs, columns=columns).drop_duplicates("pair_id").fillna("").set_index("pair_id")
    if strange := sorted(set(lines["id"]) - set(rows.index)):
        raise DataError(
            f"{quarantine}: picture {strange[0]} is not in {data.pairs}; the file is of another batch. "
            "Export the quarantine file of the last run"
        )
    known = rows.rename(columns={"caption": "text", "source": "generator"})
    yield from _pending(lines, known.loc[lines["id"].unique(), _ABOUT].to_dict("index"), table="pairs")


def _pending(lines: pd.DataFrame, about: dict[Any, dict[Any, Any]], *, table: Table) -> Iterator[PendingText]:
    broken: dict[str, list[BrokenRule]] = {}
    for key, rule, value in lines[["id", "rule", "value"]].itertuples(index=False):
        broken.setdefault(key, []).append(BrokenRule(rule=rule, value=value))
    for key, rules in broken.items():
        yield PendingText(
            explanation_id=key,
            rules=" ".join(dict.fromkeys(one.rule for one in rules)),
            values="; ".join(one.value for one in rules if one.value),
            broken=tuple(rules),
            table=table,
            **about[key],
        )
