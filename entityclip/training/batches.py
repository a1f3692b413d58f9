"""Training batches: pictures by row, texts by entity, augmentation on whole batches where the model is.

Every draw comes from a generator seeded by (seed, step): a run that was killed goes on with the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from entityclip.data.image_cache import SplitImages, open_pictures
from entityclip.data.pairs import iter_rows, read_frame, require_complete
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.text import Tokenizer, mask_names
from entityclip.errors import DataError
from entityclip.model.entityclip import Batch
from entityclip.paths import DataLayout, DecodedLayout
from entityclip.schemas import Split
from entityclip.training.siblings import beside_siblings, nearest_siblings


@dataclass(frozen=True)
class TrainingSet:
    """One split; the texts of an entity are alternatives of which each step draws one."""

    pictures: SplitImages
    entities: np.ndarray  # (N,) entity numbers
    pair_ids: np.ndarray  # (N,)
    captions: list[list[str]]  # by entity number
    explanations: list[list[str]]  # by entity number, names masked; empty where there is none
    siblings: np.ndarray | None = None  # (E, K) entity numbers, nearest first, -1 for none; None where not wanted

    def __len__(self) -> int:
        return len(self.entities)


def load_training_set(
    data: DataLayout,
    *,
    split: Split = "train",
    preprocessing: Preprocessing,
    cache: DecodedLayout | None = None,
    most_bytes: int = 0,
    mask: bool = True,
    progress: bool = True,
) -> TrainingSet:
    """Texts and entities of one split of a data version in memory, its pictures as ``open_pictures`` gives them.

    Raises:
        DataError: The data are incomplete or the split is empty.
    """
    require_complete(data)
    frame = read_frame(data.pairs, name=split, columns=["pair_id", "entity_id", "caption"])
    if frame.empty:
        raise DataError(f"{data.pairs}: split {split!r} holds no pair, so there is nothing to train on")
    numbers = {key: i for i, key in enumerate(dict.fromkeys(frame["entity_id"]))}
    return TrainingSet(
        open_pictures(
            data,
            split=split,
            preprocessing=preprocessing,
            cache=cache,
            most_bytes=most_bytes,
            progress=progress,
        ),
        frame["entity_id"].map(numbers).to_numpy(),
        frame["pair_id"].to_numpy(),
        _by_entity(frame["entity_id"], frame["caption"], numbers),
        _explanations(data, numbers, mask=mask),
    )


def with_siblings(training: TrainingSet, data: DataLayout, *, split: Split = "train") -> TrainingSet:
    """The same with the siblings of each entity: by its explanations, or by its captions where it has none."""
    entities = dict.fromkeys(read_frame(data.pairs, name=split, columns=["entity_id"])["entity_id"])
    table = read_frame(data.entities, columns=["entity_id", "category"]).drop_duplicates("entity_id")
    categories = table.set_index("entity_id")["category"].reindex(list(entities)).fillna("").tolist()
    texts = [about or named for about, named in zip(training.explanations, training.captions, strict=True)]
    return replace(training, siblings=nearest_siblings(texts, categories))


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


def order(
    data: TrainingSet, *, batch: int, balance: float, siblings: float = 0.0, epoch: int, seed: int
) -> list[np.ndarray]:
    """The batches of one epoch as row numbers; a last batch smaller than half of ``batch`` is dropped.

    Args:
        data: The N rows.
        batch: Rows in a batch.
        balance: 0 takes every row once. Above that, N rows are drawn, each in proportion to its entity's number of
            rows to the power of ``-balance``; at 1, every entity is drawn equally often.
        siblings: Share of the rows that stand behind a row of a sibling; above 0, ``data`` has the siblings.
        epoch: Number of the epoch.
        seed: Of the run.
    """
    rng = np.random.default_rng((seed, epoch))
    count, entities = len(data), data.entities
    if balance:
        weights = np.bincount(entities)[entities] ** -float(balance)
        rows = rng.choice(count, size=count, p=weights / weights.sum())
    else:
        rows = rng.permutation(count)
    rows = data.pictures.arrange(rows, rng=rng)
    if siblings and data.siblings is not None:
        rows = beside_siblings(rows, entities, data.siblings, share=siblings, rng=rng)
    cut = [rows[i : i + batch] for i in range(0, count, batch)]
    return cut[:-1] if len(cut) > 1 and len(cut[-1]) < batch / 2 else cut


# ---------------------------------------------------------------- from rows to a batch
class Features(Protocol):
    """Kept features of the rows' pictures."""

    def read(self, rows: np.ndarray, draws: torch.Tensor) -> torch.Tensor:
        """(B,) row numbers and (B,) draws in 0..1 that choose the views -> (B, ...) float16."""


@dataclass(frozen=True)
class Preparation:
    """How rows become a batch."""

    tokenizer: Tokenizer
    augmentation: Augmentation
    texts: int = 0  # captions of a batch, and as many explanations; with fewer entities, the last one's are repeated


class PreparedBatch(NamedTuple):
    """A batch as a worker prepares it: squares not yet varied, with all that was drawn for them."""

    squares: torch.Tensor  # (B, 3, S, S) uint8, or kept features (B, ...) float16
    crops: torch.Tensor  # this and the next: as in Variations
    light: torch.Tensor
    captions: torch.Tensor  # this and what follows: as in Batch
    caption_of: torch.Tensor
    explanations: torch.Tensor
    explanation_of: torch.Tensor
    explained: torch.Tensor
    entities: torch.Tensor
    negatives: torch.Tensor

    def batch(self, *, preprocessing: Preprocessing, device: torch.device | str) -> Batch:
        """The batch itself, varied and normalised on ``device``."""
        squares, crops, light, *texts = (tensor.to(device, non_blocking=True) for tensor in self)
        if squares.dtype != torch.uint8:  # kept features: views of the pictures that were varied before
            images = squares.float()
            return Batch(images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images, *texts)
        varied = vary(squares, Variations(crops, light), size=preprocessing.size)
        pictures = preprocessing.normalise(varied).contiguous(memory_format=torch.channels_last)
        return Batch(pictures, *texts)


def prepare_batch(
    data: TrainingSet,
    rows: np.ndarray,
    how: Preparation,
    *,
    generator: torch.Generator,
    share: slice = slice(None),
    features: Features | None = None,
) -> PreparedBatch:
    """The batch of these rows, or the ``share`` of it that one process holds: one caption and one explanation drawn
    for each entity. What is drawn does not depend on the share.
    """
    numbers = data.entities[rows]
    present, of_entity = np.unique(numbers, return_inverse=True)
    used, of_used = np.unique(of_entity[share], return_inverse=True)
    of = torch.from_numpy(of_used)
    used = np.pad(used, (0, max(0, how.texts - len(used))), mode="edge")  # no row has the repeats

    def draw(texts: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One text for each entity: its rows share it, and the tower reads it once."""
        picks = torch.rand(len(present), generator=generator).tolist()
        chosen = [_drawn(texts[n], pick, how.tokenizer) for n, pick in zip(present, picks, strict=True)]
        known = torch.tensor([bool(texts[n]) for n in present[used]])
        return how.tokenizer(chosen)[used], of, known[of]  # all are tokenised: every share has the same length

    captions, caption_of, _ = draw(data.captions)
    explanations, explanation_of, explained = draw(data.explanations)
    draws = torch.rand(len(rows), DRAWS, generator=generator)[share]
    read = rows[share]
    squares = data.pictures.read(read) if features is None else features.read(read, draws[:, 0])
    varied = variations(draws, config=how.augmentation)
    of_entities = torch.from_numpy(numbers[share])
    negatives = torch.rand(len(rows), 2, generator=generator)[share]
    texts = (captions, caption_of, explanations, explanation_of, explained)
    return PreparedBatch(squares, *varied, *texts, of_entities, negatives)


def _drawn(texts: list[str], pick: float, tokenizer: Tokenizer) -> str:
    """One of the texts, or of its pieces where it is longer than the context; ``pick`` from 0 to 1 decides both."""
    if not texts:
        return ""
    number, rest = divmod(pick * len(texts), 1)
    pieces = tokenizer.pieces(texts[int(number)])
    return pieces[int(rest * len(pieces))]


DRAWS = 8
"""Draws that vary one picture."""


class Variations(NamedTuple):
    """How pictures are varied."""

    crops: torch.Tensor  # (B, 2, 3): from a place in the result to the place in the picture, both in -1..1
    light: torch.Tensor  # (B, 3) factors of brightness, contrast and saturation


def variations(draws: torch.Tensor, *, config: Augmentation) -> Variations:
    """Crop, turn, mirror and light by (B, DRAWS) draws in 0..1."""
    area, angle, mirror, right, down, *light = draws.unbind(dim=1)
    scale = (config.crop + (1 - config.crop) * area).sqrt()  # side of the crop, as a share of the picture's
    angle = torch.deg2rad(config.rotate * (2 * angle - 1))
    mirror = torch.where(mirror < 0.5 * config.flip, -1.0, 1.0)
    dx, dy = ((1 - scale) * (2 * shift - 1) for shift in (right, down))
    cos, sin = scale * angle.cos(), scale * angle.sin()
    crops = torch.stack(
        [torch.stack([cos * mirror, -sin, dx], dim=1), torch.stack([sin * mirror, cos, dy], dim=1)], dim=1
    )
    widths = (config.light, config.light, config.saturation)
    factors = [1 + width * (2 * drawn - 1) for width, drawn in zip(widths, light, strict=True)]
    return Variations(crops, torch.stack(factors, dim=1))


def augment(squares: torch.Tensor, draws: torch.Tensor, *, size: int, config: Augmentation) -> torch.Tensor:
    """``vary`` by (B, DRAWS) draws in 0..1."""
    return vary(squares, variations(draws, config=config), size=size)


def vary(squares: torch.Tensor, by: Variations, *, size: int) -> torch.Tensor:
    """(B, 3, S, S) uint8 -> (B, 3, size, size) float in 0..255: cropped, turned, mirrored and lit."""
    grid = F.affine_grid(by.crops, [len(squares), 3, size, size], align_corners=False)
    varied = F.grid_sample(squares.float(), grid, padding_mode="reflection", align_corners=False)
    brightness, contrast, saturation = by.light[:, :, None, None, None].unbind(dim=1)
    lit = varied * brightness
    lit = torch.lerp(lit.mean(dim=(1, 2, 3), keepdim=True), lit, contrast)
    return torch.lerp(lit.mean(dim=1, keepdim=True), lit, saturation).clamp(0, 255)
