"""The settings of one workspace: ``entityclip.yaml``, written for people to read and edit."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from entityclip.errors import ConfigError, faults
from entityclip.evaluation.compression_policy import CompressionPolicy
from entityclip.explanations.config import RENAMED as RENAMED_EXPLAIN
from entityclip.explanations.config import SecondReaderConfig, SourceConfig, WriterConfig
from entityclip.model.backbones.config import BackboneConfig
from entityclip.monitoring.drift import DriftPolicy
from entityclip.monitoring.feedback import FeedbackPolicy
from entityclip.schemas import PromotionPolicy, Record, SealedPolicy
from entityclip.schemas.renamed import refuse_renamed
from entityclip.storage import atomic_write

RENAMED = {
    "promotion.surely": "promotion.require_significant",
    "promotion.minimal_gain": "promotion.min_gain",
    "promotion.minimal_value": "promotion.min_first_score",
    "promotion.slice_tolerance": "promotion.max_slice_drop",
    "promotion.slice_queries": "promotion.min_slice_queries",
    "monitoring.least": "monitoring.min_samples",
    "monitoring.distance": "monitoring.ks_threshold",
    "monitoring.told_apart": "monitoring.auc_threshold",
    "monitoring.scripts": "monitoring.script_shift_threshold",
    "monitoring.chance": "monitoring.alpha",
    "feedback.enough": "feedback.min_new_images",
    "feedback.callers": "feedback.min_agreeing_keys",
    "feedback.most_a_day": "feedback.max_daily_per_key",
    "feedback.most_about_one": "feedback.max_per_entity",
    **{f"explain.{old}": f"explain.{new}" for old, new in RENAMED_EXPLAIN.items()},
}
"""Old name of a setting -> its name now. A file with an old name is refused with the new one."""


class RunPolicy(Record):
    """What a run does while another run works in this workspace or trains on this device."""

    when_busy: Literal["wait", "drop"] = Field(default="wait", description="wait for the other run, or drop this one.")
    wait_hours: float = Field(default=12.0, ge=0, description="Hours after which a waiting run gives up.")
    dask: str = Field(
        default="",
        pattern=r"^(|local|(tcp|tls)://\S+)$",
        description="Dask for writing and embedding texts: local, a scheduler's address, or empty for none.",
    )

    timezone: str = Field(default="UTC", description="Time zone of the schedules, such as Asia/Tokyo.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        known = zoneinfo.available_timezones()
        if name in known:
            return name
        near = difflib.get_close_matches(name.casefold(), [zone.casefold() for zone in known], n=1)
        meant = sorted(zone for zone in known if zone.casefold() in near) or ["Asia/Tokyo"]
        raise ValueError(f"{name!r} is no time zone of the IANA database; expected a name like {meant[0]}")


class GatePolicy(Record):
    """The model that judges texts, beside the rules in ``expectations/``."""

    min_judge_score: float = Field(
        default=10.0,
        ge=0,
        le=100,
        description="Points of R@1 of the explanation index that the lower end of the champion's 95 % interval must "
        "reach, and it must beat chance, before the champion judges texts.",
    )
    judge_first_batch: bool = Field(
        default=True,
        description="A pretrained image tower compares texts with pictures where no champion does, and helps to check "
        "claims.",
    )
    max_exchanged_texts: int = Field(
        default=20_000,
        ge=0,
        description="Texts with an exchanged claim, such as another colour, that a run compares with pictures at most; "
        "0: claims are not checked.",
    )
    correct_colours: bool = Field(
        default=True,
        description="Where a writer gives a part another colour than the texts of the source do, put in that of the "
        "source.",
    )
    second_reader: SecondReaderConfig | None = Field(
        default=None,
        description="A vision-language model on a server that checks claims too: base_url, model, and docs/quality.md.",
    )


_MOVED = {
    "onnx": "compression.runtimes; write compression: {runtimes: [onnx, onnx-int8]}",
    "labels": "labels.read_at_ingest; write labels: {read_at_ingest: true}",
}
"""Settings of the service that moved -> where they stand now."""


class ServicePolicy(Record):
    """Optional contents of packages."""

    thumbnails: int = Field(
        default=4,
        ge=0,
        le=100,
        description="Photographs of each entity that packages hold as small JPEGs, for the service's pages; 0: none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, settings: Any) -> Any:
        """Releases of earlier versions hold ``onnx: false`` and ``labels: false``, which are today's defaults."""
        if not isinstance(settings, dict):
            return settings
        for old, new in _MOVED.items():
            if settings.get(old, False) is not False:
                raise ValueError(f"{old} is now {new}")
        return {name: value for name, value in settings.items() if name not in _MOVED}


class LabelPolicy(Record):
    """Reading of what is printed on pictures."""

    read_at_ingest: bool = Field(
        default=False,
        description="Read pictures at ingest: the text is searchable, its words count for tags, and the gate compares "
        "explanations with it; needs the extra labels.",
    )
    pictures_per_entity: int = Field(
        default=8, ge=1, description="Pictures of each entity and split that are read, at most."
    )
    keep: bool = Field(
        default=True,
        description="Whether text from pictures may be stored at all, in data versions, packages and the cache; false "
        "refuses read_at_ingest.",
    )

    @model_validator(mode="after")
    def _read_only_what_may_be_kept(self) -> Self:
        if self.read_at_ingest and not self.keep:
            raise ValueError("read_at_ingest is true and keep is false; reading at ingest stores the text")
        return self


class WorkspaceConfig(Record):
    """All settings of ``entityclip.yaml``; a missing one has its default."""

    promotion: PromotionPolicy = Field(
        default=PromotionPolicy(), description="When a newly trained model replaces the champion."
    )
    sealed: SealedPolicy = Field(
        default=SealedPolicy(),
        description="Pictures that decide nothing and are opened once for each promoted release.",
    )
    explain: WriterConfig = Field(
        default=SourceConfig(), description="Who writes explanations: source, transformers, openai or custom."
    )
    backbones: BackboneConfig = Field(
        default=BackboneConfig(), description="Which pretrained towers a run may start from, and where they are."
    )
    gate: GatePolicy = Field(default=GatePolicy(), description="Which model judges texts, and when.")
    runs: RunPolicy = Field(
        default=RunPolicy(), description="One run at a time in a workspace, one training at a time on a device."
    )
    service: ServicePolicy = Field(default=ServicePolicy(), description="Optional contents of a packaged release.")
    labels: LabelPolicy = Field(default=LabelPolicy(), description="What is printed on pictures.")
    compression: CompressionPolicy = Field(
        default=CompressionPolicy(), description="Faster runtimes that a release ships with, and what each may lose."
    )
    monitoring: DriftPolicy = Field(
        default=DriftPolicy(),
        description="When the pictures and texts of a service count as drifted from its release's data.",
    )
    feedback: FeedbackPolicy = Field(
        default=FeedbackPolicy(), description="Which feedback becomes training rows, and when it triggers a retraining."
    )


def default_config() -> str:
    """The text of a new ``entityclip.yaml``: every setting with its default and its description."""
    lines = [
        "# Settings of this workspace. They are part of every release.",
        "# Rules for data are in expectations/, schedules in prefect.yaml.",
    ]
    for section, about in WorkspaceConfig.model_fields.items():
        lines += ["", f"# {about.description}", f"{section}:"]
        for name, field in type(about.default).model_fields.items():
            meaning = [f"  # {field.description}"] if field.description else []
            value = yaml.safe_dump(field.default, default_flow_style=True, width=1000).partition("\n")[0]
            lines += [*meaning, f"  {name}: {value}"]
    return "\n".join(lines) + "\n"


def read_config(path: Path) -> WorkspaceConfig:
    """The settings in ``path``; the defaults where the file does not exist.

    Raises:
        ConfigError: Not YAML, a renamed or unknown setting, or an impossible value; names each one.
    """
    if not path.exists():
        return WorkspaceConfig()
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        refuse_renamed(settings, RENAMED, where=path)
        return WorkspaceConfig.model_validate(settings)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults(error)}") from error


def write_setting(path: Path, section: str, name: str, value: float) -> None:
    """Replace one value in ``path``, which is laid out as ``default_config`` writes it; the other lines stay.

    Raises:
        ConfigError: The setting has no line of its own there; says which line to add.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else default_config()
    line = re.compile(rf"(^{section}:\n(?:(?:  .*)?\n)*?  {name}: ).*$", re.MULTILINE)
    if not line.search(text):
        raise ConfigError(
            f"{path}: {section}.{name} has no line of its own; add `  {name}: {value:g}` under `{section}:`"
        )
    atomic_write(path, line.sub(rf"\g<1>{value:g}", text, count=1))
