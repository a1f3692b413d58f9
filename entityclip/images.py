"""The one way a picture gets from a file to the tower: used by ingest, training, evaluation and service."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from entityclip.records import Record


class Preprocessing(Record):
    """What happens to a picture before the tower sees it. The checkpoint card carries it."""

    size: int = Field(default=96, ge=8, description="Side of the square that the tower sees, in pixels.")
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def square(self, image: Image.Image) -> np.ndarray:
        """Shorter side resized to ``size`` (bicubic), centre cropped: (3, size, size) uint8."""
        width, height = image.size
        scale = self.size / min(width, height)
        resized = image.resize(
            (max(self.size, round(width * scale)), max(self.size, round(height * scale))), Image.Resampling.BICUBIC
        )
        left, top = (resized.width - self.size) // 2, (resized.height - self.size) // 2
        cropped = resized.crop((left, top, left + self.size, top + self.size))
        return np.asarray(cropped.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1).copy()

    def normalise(self, squares: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) uint8 -> the same shape in float32, zero mean and unit spread per channel."""
        mean = torch.tensor(self.mean, device=squares.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=squares.device).view(1, 3, 1, 1)
        return (squares.float() / 255 - mean) / std

    def batch(self, images: list[Image.Image]) -> torch.Tensor:
        """Pictures, ready for the tower: (B, 3, size, size) float32."""
        return self.normalise(torch.from_numpy(np.stack([self.square(image) for image in images])))
