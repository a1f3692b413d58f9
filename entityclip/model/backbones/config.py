"""Section ``backbones`` of ``entityclip.yaml``: which pretrained towers a run may start from."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from entityclip.schemas import Record


class BackboneConfig(Record):
    """Which pretrained towers a run may start from, and where they are."""

    backbone: str = Field(
        default="auto",
        min_length=1,
        description="auto: the best one on this machine; none: from scratch; or a name of `entityclip backbones list`, "
        "a file or a folder.",
    )
    languages: tuple[str, ...] = Field(
        default=("en", "ja"), description="Languages of the texts; auto takes a CLIP only if it reads all of them."
    )
    folders: tuple[Path, ...] = Field(
        default=(), description="Folders with downloaded backbones, each in a folder of its name."
    )
    accept_licences: tuple[str, ...] = Field(
        default=(), description="Licences with restrictions that you accept, by name, such as apple-amlr."
    )
