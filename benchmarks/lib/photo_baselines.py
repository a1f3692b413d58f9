"""What anybody could write in an hour: nearest pictures, a linear probe, Tip-Adapter, and plain fine-tuning.

All of them start from the same packaged image tower as the preset ``photos``, and name a product by its label alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from torch import nn
from torch.nn import functional as F

from entityclip.data.image_cache import open_pictures
from entityclip.data.pairs import read_frame
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.model.backbones import Choice
from entityclip.model.config import ModelConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import DataLayout, DecodedLayout
from entityclip.retrieval import metrics
from entityclip.schemas import Split
from entityclip.training.batches import DRAWS, augment
from entityclip.training.memory import keep_freed_memory

SHARPNESS = 20.0
"""Beta of Tip-Adapter, in front of the distance of two pictures."""
STRENGTH = 300.0
"""C of the logistic regression on unit vectors; the best of 30, 100, 300 and 1,000 on held-out series of train."""


@dataclass(frozen=True)
class Photographs:
    """One split: squares, and the product of each as a number that all splits share."""

    squares: torch.Tensor  # (N, 3, S, S) uint8
    products: np.ndarray  # (N,)
    pair_ids: np.ndarray  # (N,)

    def of(self, rows: np.ndarray) -> Photographs:
        """These rows alone."""
        return Photographs(self.squares[torch.from_numpy(rows)], self.products[rows], self.pair_ids[rows])


def photographs(data: DataLayout, split: Split, *, side: int, cache: DecodedLayout) -> Photographs:
    """The pictures of a split as letterboxed squares of ``side`` pixels."""
    how = Preprocessing(size=side, resize="letterbox")
    pictures = open_pictures(data, split=split, preprocessing=how, cache=cache, most_bytes=10**10, progress=False)
    frame = read_frame(data.pairs, name=split, columns=["pair_id", "entity_id"])
    numbers = {key: i for i, key in enumerate(sorted(read_frame(data.entities, columns=["entity_id"])["entity_id"]))}
    products = frame["entity_id"].map(numbers).to_numpy().copy()  # pandas gives what torch may not write to
    return Photographs(pictures.read(np.arange(len(frame))), products, frame["pair_id"].to_numpy())


class Tower:
    """The untrained backbone: unit vectors of pictures in front of its projection."""

    def __init__(self, backbone: Choice, *, size: int | None = None) -> None:
        keep_freed_memory()
        how = backbone.preprocessing
        self.preprocessing = how.model_copy(update={"size": size or how.size, "resize": "letterbox"})
        visual = EntityCLIP(ModelConfig(towers=backbone.towers)).visual
        self.trunk: nn.Module = visual.trunk.to(memory_format=torch.channels_last)

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised -> (B, C)."""
        return self.trunk.forward_head(self.trunk.forward_features(pictures))  # type: ignore[operator]

    def pictures(self, squares: torch.Tensor) -> torch.Tensor:
        """(B, 3, S', S') uint8 -> (B, 3, S, S) normalised."""
        size = (self.preprocessing.size,) * 2
        resized = F.interpolate(squares.float(), size=size, mode="bilinear", antialias=True)
        return self.preprocessing.normalise(resized).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def vectors(self, photos: Photographs) -> np.ndarray:
        """(N, C) unit rows."""
        self.trunk.eval()
        rows = [self.pooled(self.pictures(chunk)) for chunk in photos.squares.split(32)]
        return F.normalize(torch.cat(rows), dim=1).numpy()


# ---------------------------------------------------------------- on its vectors
def nearest(train: np.ndarray, products: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,) product of the nearest picture."""
    return products[(queries @ train.T).argmax(axis=1)]


def linear(train: np.ndarray, products: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,) product by logistic regression."""
    return LogisticRegression(C=STRENGTH, max_iter=300).fit(train, products).predict(queries)


def tip_adapter(train: np.ndarray, products: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,) product whose pictures weigh most, by exp(-beta (1 - cosine)); training-free, and without a text tower."""
    weights = np.exp(-SHARPNESS * (1 - queries @ train.T))
    sums = np.stack([weights[:, products == number].mean(axis=1) for number in np.unique(products)], axis=1)
    return np.unique(products)[sums.argmax(axis=1)]


# ---------------------------------------------------------------- plain fine-tuning
def finetuned(
    backbone: Choice, train: Photographs, queries: dict[str, Photographs], *, seconds: float, seed: int
) -> dict[str, np.ndarray]:
    """Products of the queries after cross-entropy on all weights for ``seconds``: AdamW 6e-4 for the body and 4e-3
    for the head, batches of 32, 160 pixels, crops from 0.3, a cosine over the clock.
    """
    torch.manual_seed(seed)
    started, tower = time.monotonic(), Tower(backbone, size=160)
    head = nn.Linear(tower.trunk.num_features, int(train.products.max()) + 1)  # type: ignore[arg-type]
    groups = [{"params": [*tower.trunk.parameters()], "rate": 6e-4}, {"params": [*head.parameters()], "rate": 4e-3}]
    optimizer, how = torch.optim.AdamW(groups), Augmentation(crop=0.3)
    products = torch.from_numpy(train.products)
    rows = torch.zeros(0, dtype=torch.long)
    tower.trunk.train()
    while (done := (time.monotonic() - started) / seconds) < 1:
        if len(rows) < 32:
            rows = torch.randperm(len(products))
        batch, rows = rows[:32], rows[32:]
        varied = augment(train.squares[batch], torch.rand(len(batch), DRAWS), size=160, config=how)
        pictures = tower.preprocessing.normalise(varied).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(head(tower.pooled(pictures)), products[batch])
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1, done / 0.05 + 1e-3) * (1 + np.cos(np.pi * done)) / 2
        optimizer.step()
    tower.trunk.eval()
    with torch.inference_mode():
        return {
            name: torch.cat([head(tower.pooled(tower.pictures(c))) for c in shown.squares.split(32)]).argmax(1).numpy()
            for name, shown in queries.items()
        }


# ---------------------------------------------------------------- figures
def difference(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Points that ``ours`` is ahead, with its 95 % interval: (S, Q) right or wrong, by seed and query.

    The bootstrap draws queries, each with the answers of all seeds.
    """
    gained = 100 * (ours.astype(float) - theirs.astype(float)).mean(axis=0)
    (found,) = metrics.mean_figures({"gain": gained}, np.arange(len(gained)), seed=0)
    return [round(value, 1) for value in (found.value, found.low, found.high)]
