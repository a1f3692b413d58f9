"""Records of a release: serving check, approval, release, package."""

from __future__ import annotations

import datetime

from pydantic import Field

from entityclip.schemas.base import Record
from entityclip.schemas.promotion import PromotionPolicy


class ServingCheck(Record):
    """Whether a promoted release can be served: smoke test and budgets; kept permanently in ``reports/``."""

    certified: bool
    reasons: tuple[str, ...]
    version: str
    model_fingerprint: str
    largest_difference: float | None = Field(
        description="|service score - evaluator score|; None: the service did not answer."
    )
    latency_ms: float | None = Field(description="95 of 100 pictures were tagged within this time.")
    size_mb: float | None = Field(
        description="Size of the packaged model with its indexes; None: it could not be packaged."
    )
    policy: PromotionPolicy


class Approval(Record):
    """A request to approve a certified release, and its answer; kept permanently in ``reports/``."""

    version: str
    requested: datetime.datetime
    until: datetime.datetime = Field(description="Without an answer by then, the champion stays.")
    approved: bool | None = Field(default=None, description="None: no answer yet.")
    name: str = Field(default="", description="Name of the person who answered.")
    comment: str = ""


class Release(Record):
    """A promoted release: one Git commit that holds data, rules, model and reports."""

    version: str = Field(description="GTO version, like v1.0.0.")
    commit: str
    model_fingerprint: str
    data_hash: str


class PackageCard(Record):
    """The release that a package was built from; the service shows it."""

    release: Release
    suite_hash: str = Field(description="Hash of the rules that the release's data passed.")
    licences: tuple[str, ...] = Field(description="Licences of the pictures and texts that the model was trained on.")


class BentoRecord(Record):
    """A Bento that was built from a release, and the result of its smoke test."""

    tag: str
    release: str
    store: str = Field(description="BENTOML_HOME that holds it.")
    content: str = Field(default="", description="Hash of its contents: the same release gives the same hash.")
    example_text: str = Field(default="", description="A text to try the service with: the name of an entity.")
    example_picture: str = Field(default="", description="A picture of that entity, as a file.")
    largest_difference: float | None = Field(default=None, description="|service score - evaluator score|, worst.")
