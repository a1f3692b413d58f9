"""The frozen records that pass between stages. Rows by the thousand travel as Parquet (see ``pairs.py``)."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Split = Literal["train", "val", "test"]
IndexKind = Literal["caption", "explanation", "mixed"]
Candidates = Literal["all", "split"]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
SLICES = ("frequent", "few", "one", "none")
"""Slices of entities by how many training pictures they have: 10 and more, 2 to 9, 1, 0."""


class Record(BaseModel):
    """A value that never changes after it was made; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def write(self, path: Path) -> None:
        """The record as JSON at ``path``, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.rename(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record at ``path``; None where there is none, or one of another version of this project."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return None


# ---------------------------------------------------------------- ingest
class Rejection(Record):
    """One row or file that a source could not use, and why."""

    file: str = Field(description="The picture or table, relative to the source's folder.")
    row: int | None = Field(description="Row of the table, counted from 1 without the header; None for a stray file.")
    reason: str


class IngestReport(Record):
    """What came in. Every row is a pair or a rejection; files that no row names are rejections too."""

    source: str
    pairs: int
    entities: int
    rejected: int
    rejected_file: str | None = Field(description="CSV with file, row, reason; None when nothing was rejected.")
    seconds: float


# ---------------------------------------------------------------- explain
class ExplanationRequest(Record):
    """What a writer gets to know about one entity."""

    entity_id: str
    entity: str
    caption: str
    category: str = ""
    language: str = "en"
    brought: tuple[str, ...] = Field(default=(), description="Texts that the data brought along.")
    reason: str = Field(default="", description="Why the gate set an earlier text aside; empty at the first asking.")
    picture_sha256: str = Field(default="", description="Which picture goes with it; for writers that see pictures.")
    picture: bytes | None = Field(default=None, repr=False, description="That picture's file, read when it is asked.")


class ExplanationRecord(Record):
    """One text about one entity, with its origin. ``explanation_id`` hashes everything else."""

    explanation_id: str
    entity_id: str
    caption: str
    text: str
    language: str
    generator: str
    prompt_version: str
    reviewer: str = Field(default="", description="Who accepted or corrected the text by hand; empty: nobody did.")


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
    waived: int = Field(default=0, description="Of those that failed: rows that a person accepted all the same.")
    skipped: str | None = Field(default=None, description="Why the rule did not run; it has then not passed.")

    @property
    def set_aside(self) -> int:
        """Rows that this rule sets aside."""
        return self.failed - self.waived if self.severity == "critical" else 0


class QualityReport(Record):
    """The verdict of the gate on one batch."""

    accepted_pairs: int
    accepted_explanations: int
    quarantined_pairs: int
    quarantined_explanations: int
    quarantine_file: str | None
    refused: bool
    refusal: str | None = Field(default=None, description="Why the batch was refused; None when it was accepted.")
    rules: tuple[RuleResult, ...]
    suite_hash: str
    data_docs: str | None

    def portable(self, root: Path) -> Self:
        """The same with its files named relative to the workspace, as a commit should have them."""
        named = {"quarantine_file": self.quarantine_file, "data_docs": self.data_docs}
        return self.model_copy(update={k: os.path.relpath(v, root) for k, v in named.items() if v})


# ---------------------------------------------------------------- version
class DataVersion(Record):
    """One version of ``data/``: the DVC hash and the Git commit that holds it."""

    data_hash: str
    commit: str
    changed: bool = Field(description="False when the same data were versioned before.")


# ---------------------------------------------------------------- evaluate
class Metric(Record):
    """One figure with its 95 % bootstrap interval, in the metric's own unit (recall in percent)."""

    index: str = Field(description="caption, explanation, mixed; or 'pairs' for picture-to-caption retrieval.")
    direction: Literal["image_to_text", "text_to_image"]
    slice: str = Field(description="'all', or one of SLICES, 'category=...', 'language=...'.")
    name: str = Field(description="R@1, R@5, R@10, R@50, R@100, median_rank, mean_rank, mAP, P@10.")
    value: float
    low: float
    high: float
    queries: int


class Probe(Record):
    """Scores of one picture as the evaluator saw them; the smoke test asks the service for the same."""

    pair_id: str
    entity: str
    scores: dict[str, float] = Field(description="Entity name -> cosine similarity, for the best five.")


class EvalReport(Record):
    """Figures of one model on one frozen evaluation set."""

    model_fingerprint: str
    evaluation_hash: str = Field(
        description="Hash of the pair ids with their entities, and the candidates with slices."
    )
    split: Split
    pictures: int
    entities: int = Field(description="How many candidates a picture has.")
    candidates: Candidates = Field(
        default="all", description="Whether all entities are candidates, or only those that the split's pictures show."
    )
    metrics: tuple[Metric, ...]
    probes: tuple[Probe, ...] = ()
    seconds: float

    def value(self, name: str, *, index: str, slice: str = "all", direction: str = "image_to_text") -> float | None:
        """The figure with these coordinates, or None when it was not measured."""
        wanted = (index, direction, slice, name)
        return next((m.value for m in self.metrics if (m.index, m.direction, m.slice, m.name) == wanted), None)


# ---------------------------------------------------------------- promote
class PromotionPolicy(Record):
    """When a challenger replaces the champion. Stands in the workspace's ``entityclip.yaml``."""

    index: IndexKind = Field(default="mixed", description="The index whose recall decides.")
    metric: str = Field(default="R@1", description="Which figure decides: R@1, R@5 or R@10.")
    minimal_gain: float = Field(default=0.0, description="Points that the challenger must win over all queries.")
    slice_tolerance: float = Field(
        default=5.0,
        ge=0,
        description="Points that any one slice may lose. Slices by training pictures and by language refuse by the "
        "figure itself; a category only when the 95 % interval of its loss lies wholly beyond, else it is noted.",
    )
    slice_queries: int = Field(default=30, ge=1, description="A slice with fewer queries is noted but refuses nobody.")
    minimal_value: float = Field(default=0.0, ge=0, description="A first champion must reach this many points.")
    surely: bool = Field(
        default=False,
        description="Whether the whole 95 % interval of the gain, over the same queries, must reach minimal_gain.",
    )
    latency_ms: float | None = Field(
        default=None, gt=0, description="Of 100 pictures, 95 must be tagged within this, one after the other."
    )
    size_mb: float | None = Field(default=None, gt=0, description="What the packaged model with its indexes may weigh.")
    approval_hours: float | None = Field(
        default=None,
        gt=0,
        description="A person has so long to say yes; silence keeps the champion. null: no question.",
    )


class Gain(Record):
    """What the challenger wins over the champion on the very same queries, in points of the deciding figure."""

    points: float
    low: float = Field(description="Of the 95 % interval, by paired bootstrap over entities.")
    high: float
    queries: int


class PromotionDecision(Record):
    """Kept for ever in ``reports/``: who challenged whom, who won, and why. Promoting, it blesses for quality."""

    promoted: bool
    reasons: tuple[str, ...]
    challenger: str = Field(description="Fingerprint of the challenger's model.")
    champion: str | None = Field(description="Version of the champion that was challenged, or None.")
    data_hash: str
    suite_hash: str
    evaluation_hash: str
    policy: PromotionPolicy
    gain: Gain | None = Field(default=None, description="None without a champion, or where nothing can be paired.")


class Blessing(Record):
    """Kept for ever in ``reports/``: whether a promoted release can be served, as its smoke test saw it."""

    blessed: bool
    reasons: tuple[str, ...]
    version: str
    model_fingerprint: str
    largest_difference: float | None = Field(description="|service score - evaluator score|; None: it did not answer.")
    latency_ms: float | None = Field(description="Of 100 pictures, 95 were tagged within this.")
    size_mb: float | None = Field(description="The packaged model with its indexes; None: it could not be packaged.")
    policy: PromotionPolicy


class Approval(Record):
    """A question to a person about a blessed release, and the answer; kept for ever in ``reports/``."""

    version: str
    asked: datetime.datetime
    until: datetime.datetime = Field(description="Without an answer by then, the champion stays.")
    approved: bool | None = Field(default=None, description="None: nobody has answered yet.")
    name: str = Field(default="", description="Who answered.")
    comment: str = ""


class Release(Record):
    """A promoted release: one Git commit that holds data, rules, model and reports."""

    version: str = Field(description="GTO version, like v1.0.0.")
    commit: str
    model_fingerprint: str
    data_hash: str


class PackageCard(Record):
    """The release that a package was made from; the service tells it to whoever asks."""

    release: Release
    suite_hash: str = Field(description="The rules that the release's data passed.")
    licences: tuple[str, ...] = Field(description="Licences of the pictures and texts that the model learned from.")


class BentoRecord(Record):
    """A Bento that was built from a release, and what its smoke test saw."""

    tag: str
    release: str
    store: str = Field(description="BENTOML_HOME that holds it.")
    example_text: str = Field(default="", description="A text to try the service with: the name of an entity.")
    example_picture: str = Field(default="", description="A picture of that entity, as a file.")
    largest_difference: float | None = Field(default=None, description="|service score - evaluator score|, worst.")


# ---------------------------------------------------------------- predict
class Filter(Record):
    """Which entities a search may give; pictures are chosen by what they show. Empty fields let everything pass."""

    categories: tuple[str, ...] = Field(default=(), description="One of these categories.")
    tags: tuple[str, ...] = Field(default=(), description="All of these tags.")
    languages: tuple[str, ...] = Field(default=(), description="One of these languages, like en or ja.")
    since: datetime.date | None = Field(default=None, description="Dated on this day or later.")
    until: datetime.date | None = Field(default=None, description="Dated on this day or earlier.")


class EntityEntry(Record):
    """An entity that is added to a running index, or that takes the place of the one with the same id."""

    entity: Line = Field(description="Its name or code.")
    aliases: tuple[Line, ...] = Field(default=(), max_length=50, description="Other names and codes.")
    category: Line | None = None
    tags: tuple[Line, ...] = Field(default=(), max_length=50)
    date: datetime.date | None = None
    language: Line = "en"
    explanations: tuple[Paragraph, ...] = Field(
        default=(), max_length=10, description="What can be seen on it; this is how it is found unphotographed."
    )


class Evidence(Record):
    """One reason why a hit was found."""

    by: Literal["name", "code", "near code", "caption", "explanation", "picture"] = Field(
        description="What the query fits: a name or code in full or in part, a code that is written almost like it, "
        "a text, or a picture's looks."
    )
    text: str = Field(default="", description="The name or the piece of text that holds the query's words.")
    score: float | None = Field(default=None, description="Similarity, -1 to 1, where likeness found it.")


class Hit(Record):
    """One answer of a search: a picture, or an entity when entities were asked for."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity with the query, -1 to 1.")
    exact: bool = Field(description="The query is or holds this entity's very name or code; such hits come first.")
    near: bool = Field(default=False, description="The query is one slip away from this entity's name or code.")
    why: tuple[Evidence, ...] = Field(default=(), description="What the query fits, the strongest reason first.")
    pair_id: str | None = Field(default=None, description="The picture; None when the hit is an entity.")
    caption: str | None = None
    path: str | None = Field(default=None, description="The picture's file as its source named it.")
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Tag(Record):
    """One entity that a picture may show."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity of picture and entity, -1 to 1.")
    confidence: float = Field(description="This entity's share among all, by the softmax of training: 0 to 1.")
    above_threshold: bool = Field(description="Reaches the calibrated threshold; False where there is none.")
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Match(Record):
    """How well a text fits a picture, and what speaks for and against it."""

    score: float = Field(description="Similarity of picture and text, -1 to 1.")
    probability: float = Field(
        description="The text's share among itself and all entities that it does not name, by the softmax of training."
    )
    entity_id: str | None = Field(description="The entity that the text names; None when it names none.")
    explanation: str = Field(description="What is known to be visible on that entity; '' when nothing is.")
    nearest: tuple[Tag, ...] = Field(description="The entities that the picture is most similar to, best first.")


class ModelFacts(Record):
    """What a loaded package says about itself."""

    fingerprint: str
    data_hash: str
    dimension: int = Field(description="Width of the joint space.")
    entities: int
    pictures: int
    mix: dict[str, float] = Field(description="Slice -> weight of the explanation in the mixed index.")
    thresholds: dict[str, float] = Field(description="Target precision -> least confidence of a tag.")
    rerank: float = Field(description="Weight of the matching head in re-ranking; 0: it keeps the order.")
