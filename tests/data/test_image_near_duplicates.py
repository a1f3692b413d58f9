"""Near duplicates of pictures: copies are found, other pictures are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from scenes import scene

from entityclip.data.image_near_duplicates import connected, near_duplicate_pairs, thumbnail

SCENES = 80


def saved(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=50)
    return Image.open(file).convert("RGB")


COPIES = {
    "saved again": saved,
    "smaller": lambda image: saved(image.resize((72, 54))),
    "cropped": lambda image: saved(image.crop((7, 5, 117, 85))),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
}


def found(images: list[Image.Image], *, entity: list[int] | None = None, exact: int = 20_000) -> set[tuple[int, int]]:
    """The near duplicates, by default of pictures that show an entity each."""
    shown = np.arange(len(images)) if entity is None else np.array(entity)
    first, second = near_duplicate_pairs(np.stack([thumbnail(image) for image in images]), shown, exact=exact)
    return set(zip(first.tolist(), second.tolist(), strict=True))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("exact", [20_000, 50], ids=["exact", "approximate"])
def test_copies_are_found_and_no_other_picture_is(copy, exact):
    originals = [scene(number) for number in range(SCENES)]
    pairs = found([*originals, *map(copy, originals)], exact=exact)
    assert pairs <= {(n, n + SCENES) for n in range(SCENES)}
    assert len(pairs) >= 0.95 * SCENES


def article(colour: str) -> Image.Image:
    image = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(image).rectangle((30, 14, 66, 86), fill=colour)
    return image


def test_one_shape_on_white_in_another_colour_is_another_picture():
    colours = ("black", "#999999", "red", "blue", "#ffd900", "#2c7a2c")
    assert found([article(colour) for colour in colours]) == set()


def test_a_plain_surface_resembles_nothing():
    plain = [Image.new("RGB", (64, 64), (value, value, 90)) for value in (0, 1, 80, 160, 250, 250)]
    assert found(plain) == set()


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pictures_have_no_near_duplicate(count):
    first, second = near_duplicate_pairs(np.zeros((count, 32, 32, 3), np.uint8), np.zeros(count, np.int64))
    assert (len(first), len(second)) == (0, 0)


def test_many_copies_of_one_picture_are_one_group():
    images = [scene(0).crop((n % 5, n // 5, 112 + n % 5, 84 + n // 5)) for n in range(25)]
    first, second = np.array(sorted(found([*images, scene(1)]))).T
    labels = connected(first, second, 26)
    assert len(set(labels[:25].tolist())) == 1
    assert labels[25] != labels[0]


def bottle(number: int) -> Image.Image:
    """A plain drawing on white that differs from its siblings by a small text."""
    image = Image.new("RGB", (120, 120), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 30, 80, 110), fill="#3c783c")
    draw.text((46, 66), f"No {number}", fill="white")
    return image


def test_a_crop_is_found_among_hundreds_of_products_that_look_like_it():
    originals = [bottle(number) for number in range(300)]
    crops = [saved(image.crop((0, 0, 111, 111))) for image in originals]
    pairs = found([*originals, *crops], entity=[*range(300), *range(300)])
    assert sum((n, n + 300) in pairs for n in range(300)) >= 0.95 * 300
