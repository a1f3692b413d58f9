"""A check of a backbone's files: they load strictly, and give a vector for a picture and for a text."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from entityclip.errors import ConfigError
from entityclip.model.backbones.choice import Choice, Task, best_at_hand
from entityclip.model.backbones.config import BackboneConfig
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.pretrained.backbone_table import BACKBONES
from entityclip.model.pretrained.lookup import weights_path
from entityclip.model.towers import Towers
from entityclip.model.weights import file_in, weights_file
from entityclip.schemas import Record


class BackboneCheck(Record):
    """What loading a backbone showed."""

    name: str
    file: Path
    sha256: str
    known: bool | None = Field(description="Whether the SHA-256 is the one of the table; None: the table has none.")
    licence: str = Field(description="As the table gives it; empty for files of your own.")
    loaded: int = Field(description="Tensors that learn and came from the file.")
    fresh: tuple[str, ...] = Field(description="Tensors of towers with weights that start at random.")
    from_scratch: tuple[str, ...] = Field(description="Towers without weights.")
    size: int = Field(description="Side of the pictures, pixels.")
    dim: int = Field(description="Width of a vector.")
    picture_ms: float = Field(description="One picture through the image tower, in this process.")


def check(name: str, config: BackboneConfig, *, picture: Image.Image | None = None) -> BackboneCheck:
    """Load a backbone by name, file or folder, and embed ``picture``, or a drawn one.

    Raises:
        ConfigError: It is not here, its licence is not accepted, a tensor does not fit, or its vectors are no numbers.
    """
    chosen = best_at_hand(config.model_copy(update={"backbone": name}), Task())
    file = _file(chosen)
    towers = Towers(chosen.towers).eval()
    seconds = _embedded(towers, chosen, picture or _drawn())
    sha, known = file_sha256(file), BACKBONES[name].sha256 if name in BACKBONES else None
    if known is not None and sha != known:
        raise ConfigError(f"{file}: SHA-256 is {sha}, expected {known} of {name}; get the file again")
    filled = {weight.partition(".")[0] for weight in towers.loaded}
    return BackboneCheck(
        name=chosen.name,
        file=file,
        sha256=sha,
        known=None if known is None else True,
        licence=chosen.licence,
        loaded=len(towers.loaded),
        fresh=tuple(sorted(towers.fresh())),
        from_scratch=tuple(tower for tower in ("visual", "text") if tower not in filled),
        size=chosen.preprocessing.size,
        dim=towers.dim,
        picture_ms=round(1000 * seconds, 1),
    )


def _file(chosen: Choice) -> Path:
    towers = chosen.towers
    if towers.pretrained is not None:
        return weights_file(towers.architecture, towers.pretrained)
    if towers.image_weights is None:
        raise ConfigError("backbone none: there is nothing to check; name a backbone, a file or a folder")
    return file_in(weights_path(towers.image_weights))


def _embedded(towers: Towers, chosen: Choice, picture: Image.Image) -> float:
    """Embed the picture, and a text where the text tower is pretrained; seconds of the picture, after a first one."""
    squares = torch.from_numpy(chosen.preprocessing.square(picture))[None]
    with torch.inference_mode():
        pictures = chosen.preprocessing.normalise(squares)
        vectors = [towers.encode_image(pictures)]
        started = time.perf_counter()
        towers.encode_image(pictures)
        seconds = time.perf_counter() - started
        if chosen.tokenisation is not None:
            vectors.append(towers.encode_text(chosen.tokenisation.load()(["a photo of a kettle"])))
    if not all(bool(vector.isfinite().all()) for vector in vectors):
        raise ConfigError(f"backbone {chosen.name}: its vectors hold values that are no numbers; the file is damaged")
    return seconds


def _drawn() -> Image.Image:
    """A picture with edges and colours, the same each time."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240))
