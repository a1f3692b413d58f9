"""Pictures of the drawn catalogue at 384 pixels, with a printed sticker that is right, unreadable, missing or wrong."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from entityclip.data.sources.synthetic.drawing import photograph, sprite
from entityclip.data.sources.synthetic.products import Product
from entityclip.data.sources.synthetic.render_photos import TEST_PICTURES, VAL_PICTURES

SIDE = 384
SLICES = ("readable", "unreadable", "no label", "wrong label", "unknown code")
JAPANESE_FONT = "NotoSansCJK-Regular.ttc"


@dataclass(frozen=True, eq=False)
class StickerQuery:
    """One labelled picture."""

    picture: Image.Image
    code: str
    """Of the product that is shown."""
    slice: str


def queries(products: Sequence[Product], strangers: Sequence[Product], *, count: int, seed: int) -> list[StickerQuery]:
    """``count`` pictures of each slice, of test pictures that no model was trained on.

    Args:
        products: The catalogue, as it was drawn with ``seed``.
        strangers: Products that are not in it, whose codes are printed in the slice ``unknown code``.
        count: Pictures of each slice.
        seed: Of the catalogue.
    """
    rng = np.random.default_rng(seed)
    found = []
    for name in SLICES:
        for index in rng.choice(len(products), count, replace=count > len(products)).tolist():
            product, number = products[index], VAL_PICTURES + int(rng.integers(TEST_PICTURES)) + 1
            jpeg = photograph(
                sprite(product.look, print_on_label=""), np.random.default_rng([seed, index, number]), size=SIDE
            )
            picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
            printed = product
            if name in ("wrong label", "unknown code"):
                others = [p for p in (products if name == "wrong label" else strangers) if p.code != product.code]
                printed = others[int(rng.integers(len(others)))]
            if name != "no label":
                _stick(picture, printed, rng, readable=name != "unreadable")
            found.append(StickerQuery(picture, product.code, name))
    return found


def _stick(picture: Image.Image, product: Product, rng: np.random.Generator, *, readable: bool) -> None:
    """Paste a sticker with code, name and size somewhere in the lower half, turned a little."""
    height = int(rng.integers(20, 33)) if readable else 7
    name = product.name_ja if rng.random() < 0.5 else product.name_en
    lines = (product.code, name, f"{rng.integers(1, 20) * 50} ml   100 V")
    fonts = (_font(height, japanese=False), *(_font(max(6, height * 2 // 3), japanese=True) for _ in lines[1:]))
    width = round(max(font.getlength(line) for line, font in zip(lines, fonts, strict=True))) + 16
    sticker = Image.new("RGBA", (width, 4 * height), (250, 248, 240, 255))
    draw = ImageDraw.Draw(sticker)
    for row, (line, font) in enumerate(zip(lines, fonts, strict=True)):
        draw.text((8, 4 + row * height * 1.25), line, font=font, fill=(20, 20, 20, 255))
    if not readable:
        sticker = sticker.filter(ImageFilter.GaussianBlur(1.2))
    turned = sticker.rotate(float(rng.uniform(-8, 8)), expand=True, resample=Image.Resampling.BICUBIC)
    left = int(rng.integers(0, max(1, SIDE - turned.width)))
    top = int(rng.integers(SIDE // 2, max(SIDE // 2 + 1, SIDE - turned.height)))
    picture.paste(turned, (left, top), turned)


def _font(size: int, *, japanese: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(JAPANESE_FONT, size) if japanese else ImageFont.load_default(size)
