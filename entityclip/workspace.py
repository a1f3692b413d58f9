"""The settings of one workspace: ``entityclip.yaml``, for people to read and change."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from entityclip.drift import DriftPolicy
from entityclip.errors import ConfigError, faults
from entityclip.records import PromotionPolicy, Record


class WorkspaceConfig(Record):
    """Everything that ``entityclip.yaml`` may say; what it leaves out has the default."""

    promotion: PromotionPolicy = Field(
        default=PromotionPolicy(), description="When a newly trained model replaces the champion."
    )
    monitoring: DriftPolicy = Field(
        default=DriftPolicy(), description="When what a service is shown differs too much from its release's data."
    )


def default_config() -> str:
    """The text of a new ``entityclip.yaml``: every setting with its default and what it means."""
    policy = PromotionPolicy()
    lines = [
        "# Settings of this workspace. They are part of every release.",
        "# Rules for data stand in expectations/, schedules in prefect.yaml.",
        "",
        f"# {WorkspaceConfig.model_fields['promotion'].description}",
        "promotion:",
    ]
    for name, field in PromotionPolicy.model_fields.items():
        meaning = [f"  # {field.description}"] if field.description else []
        lines += [*meaning, f"  {name}: {getattr(policy, name)}"]
    return "\n".join(lines) + "\n"


def read_config(path: Path) -> WorkspaceConfig:
    """The settings in ``path``; the defaults where the file does not exist.

    Raises:
        ConfigError: Not YAML, an unknown setting, or an impossible value; names each one.
    """
    if not path.exists():
        return WorkspaceConfig()
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return WorkspaceConfig.model_validate(settings)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults(error)}") from error
