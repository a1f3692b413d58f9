"""Photographs of the synthetic products, and their rows in the picture table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from entityclip.data.sources.synthetic.drawing import photograph, sprite
from entityclip.data.sources.synthetic.products import Product, invent
from entityclip.schemas import Record, Split

TRAIN_PICTURES = (12, 2, 12, 2, 1, 0)
"""The long tail: training pictures of the first six products, of the next six, and so on."""
VAL_PICTURES, TEST_PICTURES = 2, 5
FIRST_TRAIN = VAL_PICTURES + TEST_PICTURES + 1
"""Pictures of a product are numbered from 1 on: val, test, train."""
LICENCE = "CC0-1.0"
Texts = Literal["en", "ja", "both"]
"""Language of the catalogue's texts; 'both': six products in English, the next six in Japanese, and so on."""


def language_of(index: int, texts: Texts) -> str:
    """Of the texts of the product at ``index``."""
    if texts != "both":
        return texts
    return ("en", "ja")[index // len(TRAIN_PICTURES) % 2]


class PictureLine(Record):
    """A row of the picture table."""

    file: str
    code: str
    caption: str
    split: Split
    kind: str
    language: str
    licence: str = LICENCE


def shots(index: int) -> Iterator[tuple[int, Split]]:
    """Number and split of each picture of the product at ``index``."""
    train = TRAIN_PICTURES[index % len(TRAIN_PICTURES)]
    splits: tuple[tuple[Split, int], ...] = (("val", VAL_PICTURES), ("test", TEST_PICTURES), ("train", train))
    return enumerate((split for split, count in splits for _ in range(count)), start=1)


class Studio:
    """Photographs the products of a catalogue into ``folder``.

    Picture N of a product depends only on the seed, the product and N.
    """

    def __init__(self, folder: Path, *, products: int, seed: int, size: int, texts: Texts = "en") -> None:
        self.products, self.seed, self.texts = invent(products, seed=seed), seed, texts
        self._folder, self._size = folder, size
        self._sprite = lru_cache(maxsize=1)(self._draw)

    @property
    def frequent(self) -> list[int]:
        """Indices of the products with most pictures."""
        most = max(TRAIN_PICTURES)
        return [i for i in range(len(self.products)) if TRAIN_PICTURES[i % len(TRAIN_PICTURES)] == most]

    def _draw(self, index: int) -> Image.Image:
        product = self.products[index]
        return sprite(product.look, print_on_label=product.code)

    def shoot(self, index: int, number: int) -> bytes:
        """Picture ``number`` of the product at ``index``, as JPEG."""
        return photograph(self._sprite(index), np.random.default_rng([self.seed, index, number]), size=self._size)

    def file_away(self, jpeg: bytes, index: int, number: int, *, split: Split) -> PictureLine:
        """Write ``jpeg`` as picture ``number`` of the product at ``index``; returns its row, with a caption."""
        product = self.products[index]
        file = f"images/{product.code}/{number}.jpg"
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        rng = np.random.default_rng([self.seed, index, number, 1])
        language, caption = _caption(product, rng, language=language_of(index, self.texts))
        return PictureLine(
            file=file, code=product.code, caption=caption, split=split, kind=product.look.kind, language=language
        )


def _caption(product: Product, rng: np.random.Generator, *, language: str) -> tuple[str, str]:
    """Language and caption: usually the code alone, as in a stock list, otherwise with a name, in English either."""
    style = rng.random()
    if style < 0.6:
        return language, product.code
    if language == "ja":
        return "ja", f"{product.name_ja} {product.code}"
    return ("en", f"{product.name_en} {product.code}") if style < 0.8 else ("ja", f"{product.name_ja} {product.code}")
