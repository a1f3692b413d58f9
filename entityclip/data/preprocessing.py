"""From a decoded picture to the input of the image tower, shared by training, evaluation and service."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from entityclip.data.color import to_rgb
from entityclip.data.images import opened
from entityclip.schemas import Record

if TYPE_CHECKING:
    import torch


class Preprocessing(Record):
    """What happens to a picture before the tower sees it. The checkpoint card carries it."""

    size: int = Field(default=96, ge=8, description="Side of the input square of the tower, in pixels.")
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash", "letterbox"] = Field(
        default="shortest",
        description="Crop the central square, squash the whole picture, or keep its proportions and pad with white.",
    )

    def square_of(self, data: bytes) -> np.ndarray:
        """``square`` of the picture in a file's bytes; no more of it is left in memory.

        Raises:
            ImageError: The picture cannot be used.
        """
        with opened(data) as picture:
            return self.square(picture)

    def square(self, image: Image.Image) -> np.ndarray:
        """The picture as a square, by ``resize``: (3, size, size) uint8.

        Only the visible part is resized. A very tall picture is squashed vertically first: Pillow resizes
        horizontally first, and 224 x 8,000,000 would not fit into memory.
        """
        how = Image.Resampling[self.interpolation.upper()]
        if self.resize == "letterbox":
            shown = _letterboxed(image, self.size, how)
        else:
            if self.resize == "squash" and image.height > 16 * image.width:
                image = image.resize((image.width, self.size), how)
            box = (0, 0, *image.size) if self.resize == "squash" else _centre(*image.size)
            shown = to_rgb(image.resize((self.size, self.size), how, box=box))
        pixels = np.frombuffer(shown.tobytes(), dtype=np.uint8)  # half the time of np.asarray(image)
        return pixels.reshape(self.size, self.size, 3).transpose(2, 0, 1).copy()

    def normalise(self, squares: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) uint8 -> the same shape in float32, zero mean and unit spread per channel."""
        pixels = squares.float() / 255
        mean, std = (_of_channels(values, pixels.device) for values in (self.mean, self.std))
        return (pixels - mean) / std


@cache
def _of_channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(1, 3, 1, 1) on the device; copied there once, since the host of a GPU waits for a copy."""
    import torch

    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _centre(width: int, height: int) -> tuple[int, int, int, int]:
    """The box of the central square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _letterboxed(image: Image.Image, size: int, how: Image.Resampling) -> Image.Image:
    """The whole picture in the middle of a white square, its longer side at ``size``."""
    longest = max(image.size)
    width, height = (max(1, round(size * side / longest)) for side in image.size)
    square = Image.new("RGB", (size, size), "white")
    square.paste(to_rgb(image.resize((width, height), how)), ((size - width) // 2, (size - height) // 2))
    return square


class Augmentation(Record):
    """Augmentation of training pictures; each value is the width of a uniform distribution. Zero disables it."""

    crop: float = Field(default=0.5, gt=0, le=1, description="Minimum share of the picture's area that a crop keeps.")
    rotate: float = Field(default=10, ge=0, description="Maximum rotation, degrees.")
    flip: bool = Field(
        default=False,
        description="Mirror half of the pictures. Off by default: labels and logos are never mirrored in reality.",
    )
    light: float = Field(default=0.3, ge=0, lt=1, description="Maximum relative change of brightness and contrast.")
    saturation: float = Field(default=0.3, ge=0, lt=1, description="Maximum relative change of saturation.")

    def kept_side(self, size: int) -> int:
        """Side at which pictures are kept, pixels, so that the smallest crop still has ``size``."""
        return math.ceil(size / math.sqrt(self.crop))
