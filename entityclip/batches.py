"""Training batches: pictures decoded once into memory, texts by entity, augmentation on whole batches.

Every draw comes from a generator seeded by (seed, step): a run that was killed goes on with the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn import functional as F
from tqdm import tqdm

from entityclip.errors import DataError
from entityclip.images import Preprocessing, decode
from entityclip.layout import DataLayout
from entityclip.model.entityclip import Batch
from entityclip.pairs import iter_rows, read_frame, require_complete
from entityclip.records import Record
from entityclip.text import Tokenizer, mask_names


class Augmentation(Record):
    """How training pictures are varied; every value is the width of a uniform draw. Zero switches it off."""

    crop: float = Field(default=0.5, gt=0, le=1, description="Least share of the picture's area that a crop keeps.")
    rotate: float = Field(default=10, ge=0, description="Largest rotation, degrees.")
    flip: bool = Field(default=True, description="Mirror half of the pictures.")
    light: float = Field(default=0.3, ge=0, lt=1, description="Largest relative change of brightness and contrast.")
    saturation: float = Field(default=0.3, ge=0, lt=1, description="Largest relative change of saturation.")


@dataclass(frozen=True)
class TrainingSet:
    """One split in memory.

    ``pictures`` is (N, 3, S, S) uint8; the texts of an entity are alternatives of which each step draws one.
    """

    pictures: torch.Tensor
    entities: np.ndarray  # (N,) entity numbers
    pair_ids: np.ndarray  # (N,)
    captions: list[list[str]]  # by entity number
    explanations: list[list[str]]  # by entity number, names masked; empty where there is none

    def __len__(self) -> int:
        return len(self.entities)


def load_training_set(
    data: DataLayout, *, split: str = "train", side: int, mask: bool = True, progress: bool = True
) -> TrainingSet:
    """Read one split of a data version, decoding every picture once to a square of ``side`` pixels.

    Raises:
        DataError: The data are incomplete or the split is empty.
    """
    require_complete(data)
    frame = read_frame(data.pairs, name=split, columns=["pair_id", "entity_id", "caption"])
    if frame.empty:
        raise DataError(f"{data.pairs}: split {split!r} holds no pair, so there is nothing to train on")
    numbers = {key: i for i, key in enumerate(dict.fromkeys(frame["entity_id"]))}
    square = Preprocessing(size=side).square
    rows = iter_rows(data.pairs, name=split, columns=["image"])
    pictures = np.empty((len(frame), 3, side, side), dtype=np.uint8)
    for i, row in enumerate(tqdm(rows, total=len(frame), desc="decode", unit="picture", disable=not progress)):
        pictures[i] = square(decode(row["image"]["bytes"]))
    return TrainingSet(
        torch.from_numpy(pictures),
        frame["entity_id"].map(numbers).to_numpy(),
        frame["pair_id"].to_numpy(),
        _by_entity(frame["entity_id"], frame["caption"], numbers),
        _explanations(data, numbers, mask=mask),
    )


def _by_entity(keys: pd.Series, texts: pd.Series, numbers: dict[str, int]) -> list[list[str]]:
    """Distinct texts by entity number, in order of appearance."""
    found: list[list[str]] = [[] for _ in numbers]
    for key, text in dict.fromkeys(zip(keys, texts, strict=True)):
        if key in numbers:
            found[numbers[key]].append(text)
    return found


def _explanations(data: DataLayout, numbers: dict[str, int], *, mask: bool) -> list[list[str]]:
    texts = read_frame(data.explanations, columns=["entity_id", "text"])
    if mask:
        names = {row["entity_id"]: [row["entity"], *row["aliases"]] for row in iter_rows(data.entities)}
        masked = [mask_names(t, names.get(k, ())) for k, t in zip(texts["entity_id"], texts["text"], strict=True)]
        texts = texts.assign(text=masked)
    return _by_entity(texts["entity_id"], texts["text"], numbers)


def order(entities: np.ndarray, *, batch: int, balance: float, epoch: int, seed: int) -> list[np.ndarray]:
    """The batches of one epoch as row numbers; a last batch smaller than half of ``batch`` is dropped.

    Args:
        entities: (N,) entity number of each row.
        batch: Rows in a batch.
        balance: 0 takes every row once. Above that, N rows are drawn, each in proportion to its entity's number of
            rows to the power of ``-balance``; at 1, every entity is drawn equally often.
        epoch: Number of the epoch.
        seed: Of the run.
    """
    rng = np.random.default_rng((seed, epoch))
    count = len(entities)
    if balance:
        weights = np.bincount(entities)[entities] ** -float(balance)
        rows = rng.choice(count, size=count, p=weights / weights.sum())
    else:
        rows = rng.permutation(count)
    cut = [rows[i : i + batch] for i in range(0, count, batch)]
    return cut[:-1] if len(cut) > 1 and len(cut[-1]) < batch / 2 else cut


def make_batch(
    data: TrainingSet,
    rows: np.ndarray,
    *,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Batch:
    """The batch of these rows: pictures augmented and normalised, one caption and one explanation drawn for each."""
    numbers = data.entities[rows]
    present, of_entity = np.unique(numbers, return_inverse=True)

    def draw(texts: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One text for each entity of the batch: its rows share it, and the tower reads it once."""
        picks = torch.rand(len(present), generator=generator).tolist()
        chosen = [texts[n][int(p * len(texts[n]))] if texts[n] else "" for n, p in zip(present, picks, strict=True)]
        known = torch.tensor([bool(texts[n]) for n in present])
        of = torch.from_numpy(of_entity)
        return tokenizer(chosen), of, known[of]

    captions, caption_of, _ = draw(data.captions)
    explanations, explanation_of, explained = draw(data.explanations)
    squares = augment(data.pictures[rows], size=preprocessing.size, config=augmentation, generator=generator)
    return Batch(
        preprocessing.normalise(squares),
        captions,
        caption_of,
        explanations,
        explanation_of,
        explained,
        torch.from_numpy(numbers),
    )


def augment(squares: torch.Tensor, *, size: int, config: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """(B, 3, S, S) uint8 -> (B, 3, size, size) float in 0..255: crop, turn, mirror and light, drawn per picture."""
    count = len(squares)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    scale = uniform(config.crop, 1.0).sqrt()  # side of the crop, as a share of the picture's
    angle = torch.deg2rad(uniform(-config.rotate, config.rotate))
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones(count)
    dx, dy = ((1 - scale) * uniform(-1, 1) for _ in range(2))
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, dx], dim=1), torch.stack([sin * mirror, cos, dy], dim=1)], dim=1
    )
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    varied = F.grid_sample(squares.float(), grid, padding_mode="reflection", align_corners=False)
    return _light(varied, config=config, uniform=uniform)


def _light(
    pictures: torch.Tensor, *, config: Augmentation, uniform: Callable[[float, float], torch.Tensor]
) -> torch.Tensor:
    def around(pivot: torch.Tensor, width: float, value: torch.Tensor) -> torch.Tensor:
        return pivot + (value - pivot) * uniform(1 - width, 1 + width).view(-1, 1, 1, 1)

    lit = pictures * uniform(1 - config.light, 1 + config.light).view(-1, 1, 1, 1)
    lit = around(lit.mean(dim=(1, 2, 3), keepdim=True), config.light, lit)
    return around(lit.mean(dim=1, keepdim=True), config.saturation, lit).clamp(0, 255)
