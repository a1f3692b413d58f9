"""From a source to a data version: ingest, explanations, quality gate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from entityclip.schemas.base import Record


# ---------------------------------------------------------------- ingest
class Rejection(Record):
    """One row or file that a source could not use, and why."""

    file: str = Field(description="The picture or table, relative to the source's folder.")
    row: int | None = Field(description="Row of the table, counted from 1 without the header; None for a stray file.")
    reason: str


class NearDuplicates(Record):
    """Pictures that stay in one split. Rows with the same picture file count once."""

    pictures: int = Field(default=0, description="Near duplicates of another of their entity, or of one split_group.")
    groups: int = Field(default=0, description="Groups of such pictures.")
    largest: int = Field(default=0, description="Pictures of the largest group.")
    moved: int = Field(default=0, description="Moved to the split of the first picture of their group.")
    apart: int = Field(
        default=0,
        description="In another split than their group, since the source names the split or the entity is held out.",
    )
    look_like_others: int = Field(
        default=0, description="Near duplicates of a picture of another entity; these do not move."
    )

    def sentence(self) -> str:
        """What a person should know of them; empty without any."""
        parts = []
        if self.pictures:
            parts.append(
                f"{self.pictures:,} pictures belong together, as near duplicates or by split_group, in {self.groups:,} "
                f"groups of up to {self.largest:,}; {self.moved:,} of them moved to the split of their group."
            )
        if self.apart:
            parts.append(f"{self.apart:,} stay in another split: the source names it, or the entity is held out.")
        if self.look_like_others:
            parts.append(f"{self.look_like_others:,} pictures look like one of another entity and do not move.")
        return " ".join(parts)


class IngestReport(Record):
    """Counts of an ingest. Every row is a pair or a rejection; files that no row names are rejections too."""

    source: str
    pairs: int
    entities: int
    rejected: int
    rejected_file: str | None = Field(description="CSV with file, row, reason; None when nothing was rejected.")
    near_duplicates: NearDuplicates = NearDuplicates()
    seconds: float


# ---------------------------------------------------------------- explain
class ExplanationRequest(Record):
    """Input of a writer about one entity."""

    entity_id: str
    entity: str
    caption: str
    category: str = ""
    language: str = "en"
    source_provided: tuple[str, ...] = Field(default=(), description="Texts that the data provide.")
    reason: str = Field(default="", description="Why the gate set an earlier text aside; empty at the first request.")
    pictures_sha256: tuple[str, ...] = Field(
        default=(), description="Hashes of its pictures, for writers that take pictures."
    )
    pictures: tuple[bytes, ...] = Field(
        default=(), repr=False, description="The files of those pictures, read when the request is sent."
    )

    @property
    def picture(self) -> bytes | None:
        """The first of them, which belongs to the caption; None without any."""
        return next(iter(self.pictures), None)


class ExplanationRecord(Record):
    """One text about one entity, with its origin. ``explanation_id`` hashes what is about the text when written."""

    explanation_id: str
    entity_id: str
    caption: str
    text: str
    language: str
    generator: str
    prompt_version: str
    reviewer: str = Field(default="", description="Who accepted or edited the text; empty: not reviewed.")
    doubts: str = Field(default="", description="What its writer is not sure of; empty: nothing, or it did not say.")


# ---------------------------------------------------------------- validate
class RuleResult(Record):
    """One rule of a suite on one batch."""

    suite: str
    rule: str
    column: str | None
    severity: Literal["critical", "warning", "info"]
    passed: bool
    checked: int
    failed: int
    error: str | None = Field(default=None, description="Set when the check itself raised; that counts as failed.")
    waived: int = Field(default=0, description="Of those that failed: rows that a reviewer accepted.")
    skipped: str | None = Field(default=None, description="Why the rule did not run; it then counts as not passed.")

    @property
    def quarantined(self) -> int:
        """Rows that this rule quarantines."""
        return self.failed - self.waived if self.severity == "critical" else 0


class ClaimCount(Record):
    """What was found out about the claims of one attribute."""

    attribute: str
    supported: int = Field(description="The pictures fit them better than any alternative.")
    contradicted: int = Field(description="The pictures fit an alternative better.")
    not_checkable: int = Field(description="The model cannot tell, or they were not exchanged. Not passed as true.")


class ReaderAgreement(Record):
    """How far two judges of claims agree."""

    first: str
    second: str
    what: str = Field(description="What they are compared on: claims, or texts.")
    judged: int = Field(description="Claims or texts that are compared.")
    compared: int = Field(description="Those of them on which both decided.")
    same: float = Field(description="Share of these on which they decided the same.")
    kappa: float | None = Field(default=None, description="Cohen's; None where each of them says one thing of all.")
    low: float | None = Field(default=None, description="Lower end of its 95 % bootstrap interval, by entity.")
    high: float | None = Field(default=None, description="Upper end.")


class QualityReport(Record):
    """Result of the quality gate on one batch."""

    accepted_pairs: int
    accepted_explanations: int
    quarantined_pairs: int
    quarantined_explanations: int
    quarantine_file: str | None
    refused: bool
    refusal: str | None = Field(default=None, description="Why the batch was refused; None when it was accepted.")
    rules: tuple[RuleResult, ...]
    suite_hash: str
    validation_page: str | None = Field(description="HTML page with the result of every rule; None: not written.")
    claims: tuple[ClaimCount, ...] = Field(default=(), description="By attribute; empty where none were checked.")
    agreement: tuple[ReaderAgreement, ...] = Field(default=(), description="Of the readers of claims; empty for one.")

    def portable(self, root: Path) -> Self:
        """The same with paths relative to the workspace, for commits."""
        named = {"quarantine_file": self.quarantine_file, "validation_page": self.validation_page}
        return self.model_copy(update={k: os.path.relpath(v, root) for k, v in named.items() if v})


# ---------------------------------------------------------------- version
class DataVersion(Record):
    """One version of ``data/``: the DVC hash and the Git commit that holds it."""

    data_hash: str
    commit: str
    changed: bool = Field(description="False when the same data were versioned before.")
