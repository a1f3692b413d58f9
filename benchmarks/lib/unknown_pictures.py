"""Pictures of nothing that is in a catalogue: foreign products, mosaics, noise, grey cards with an unknown code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from entityclip.data.sources.catalog import draw_catalog

SIDE = 96


def unknown_pictures(folder: Path, *, count: int, seed: int) -> dict[str, list[Image.Image]]:
    """``count`` pictures of each kind.

    Args:
        folder: Where the foreign catalogue is drawn, once.
        count: Pictures of each kind.
        seed: Of the catalogue, and of everything else.
    """
    rng = np.random.default_rng(seed)
    draw_catalog(folder, products=count, seed=seed, faults=False)
    products = sorted((folder / "images").iterdir())
    return {
        "catalogue": [Image.open(next(iter(sorted(product.iterdir())))).convert("RGB") for product in products],
        "mosaic": [_mosaic(rng) for _ in range(count)],
        "noise": [_noise(rng) for _ in range(count)],
        "code": [_code(rng) for _ in range(count)],
    }


def _mosaic(rng: np.random.Generator) -> Image.Image:
    """Squares of random colours."""
    tiles = int(rng.integers(2, 13))
    squares = Image.fromarray(rng.integers(0, 256, (tiles, tiles, 3), dtype=np.uint8))
    return squares.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _noise(rng: np.random.Generator) -> Image.Image:
    """Grey or coloured noise, faint or strong."""
    shape = (SIDE, SIDE, int(rng.choice([1, 3])))
    noise = np.clip(rng.normal(rng.uniform(60, 200), rng.uniform(5, 90), shape), 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(noise, (SIDE, SIDE, 3)).copy())


def _code(rng: np.random.Generator) -> Image.Image:
    """A grey card with a large code such as ZQ-317B."""
    card = Image.new("RGB", (SIDE, SIDE), (int(rng.integers(90, 230)),) * 3)
    letters, digits = rng.choice(list("ABCDEFGHJKLMNPQRSTUVWXYZ"), 3), rng.choice(list("0123456789"), 3)
    text = "".join([*letters[:2], "-", *digits, letters[2]])
    font = ImageFont.load_default(size=int(rng.integers(14, 24)))
    ImageDraw.Draw(card).text((SIDE // 2, SIDE // 2), text, fill=(10, 10, 10), anchor="mm", font=font)
    return card
