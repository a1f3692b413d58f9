"""Rows of the built-in catalogue without its pictures: real texts, noise to look at, nothing on disk."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import torch

from entityclip.data.sources.synthetic.products import Product, explain, invent
from entityclip.data.text import Tokenizer, mask_names
from entityclip.training.batches import TrainingSet

PRODUCTS = 300


class Noise:
    """Pictures of noise, by row."""

    def __init__(self, rows: int, *, side: int) -> None:
        self._rows, self._side = rows, side

    def __len__(self) -> int:
        return self._rows

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """(B,) row numbers -> (B, 3, S, S) uint8."""
        generator = torch.Generator().manual_seed(int(rows[0]))
        return torch.randint(256, (len(rows), 3, self._side, self._side), generator=generator, dtype=torch.uint8)

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002 (a protocol)
        """The rows as they are: any order is cheap."""
        return rows


def catalog_rows(rows: int, *, side: int) -> TrainingSet:
    """``rows`` pictures, each of another product as long as there are products; captions and explanations as drawn
    catalogues have them.
    """
    products = invent(min(rows, PRODUCTS), seed=0)
    return TrainingSet(
        pictures=Noise(rows, side=side),
        entities=np.arange(rows) % len(products),
        pair_ids=np.array([f"{row:016x}" for row in range(rows)]),
        captions=[_captions(product) for product in products],
        explanations=[_explanations(product) for product in products],
    )


def _captions(product: Product) -> list[str]:
    """Three of five are the code alone, as in ``render_photos``."""
    return [*[product.code] * 3, f"{product.name_en} {product.code}", f"{product.name_ja} {product.code}"]


def _explanations(product: Product) -> list[str]:
    names = (product.code, product.name_en, product.name_ja)
    return [mask_names(text, names) for text in explain(product, seed=0).values()]


def catalog_texts(tokenizer: Tokenizer, count: int) -> dict[str, torch.Tensor]:
    """(``count``, L) ids of captions and of explanations, one of each product in turn, padded to their longest."""
    rows = catalog_rows(PRODUCTS, side=1)
    kinds = {"captions": rows.captions, "explanations": rows.explanations}
    return {
        kind: tokenizer(list(islice(cycle(texts[n % len(texts)] for n, texts in enumerate(known)), count)))
        for kind, known in kinds.items()
    }
