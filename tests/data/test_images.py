"""Decoding: what is read, what is refused and why, and the one square that the tower sees."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from entityclip.data.images import MAX_BYTES, decode
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ImageError


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("JPEG", ".jpg"),
        ("JPEG", ".JPEG"),
        ("PNG", ".png"),
        ("WEBP", ".webp"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("TIFF", ".tif"),
        ("TIFF", ""),
    ],
)
def test_every_allowed_kind_becomes_rgb(kind, suffix, picture_bytes):
    image = decode(picture_bytes(kind=kind), suffix=suffix)
    assert (image.mode, image.size) == ("RGB", (24, 16))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "PA", "I;16"])
def test_every_colour_mode_keeps_its_light_and_dark_halves(mode):
    halves = np.zeros((10, 20), dtype=np.uint8)
    halves[:, 10:] = 255
    image = Image.fromarray(halves)
    image = Image.fromarray(halves.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    decoded = np.asarray(decode(saved(image, "JPEG" if mode == "CMYK" else "TIFF" if mode == "PA" else "PNG")))
    assert decoded[:, :8].max() < 30
    assert decoded[:, 12:].min() > 225


def test_sixteen_bit_grey_is_scaled_and_not_cut_off():
    image = Image.fromarray(np.full((10, 10), 128 * 256, dtype=np.uint16))
    assert np.asarray(decode(saved(image, "PNG"))).max() == 128


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert np.asarray(decode(saved(clear, "PNG"))).min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_turns_the_picture_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image = Image.new("RGB", (20, 10)) if kind == "JPEG" else Image.new("RGBA", (20, 10))
    assert decode(saved(image, kind, exif=exif)).size == (10, 20)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_cost_the_picture():
    data = saved(Image.new("RGB", (20, 10)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert decode(data).size == (20, 10)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((5, 5)) == (255, 0, 0)


def test_a_bomb_is_refused_by_its_header_alone(png_header):
    with pytest.raises(ImageError, match="pixels"):
        decode(png_header(60_000, 60_000))
    with pytest.raises(ImageError, match="9000 x 9000 pixels"):
        decode(png_header(9000, 9000))


def test_a_file_too_large_is_not_even_opened(picture_bytes):
    with pytest.raises(ImageError, match="at most"):
        decode(picture_bytes() + b"\0" * MAX_BYTES)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_file_is_refused(kind, picture_bytes):
    data = picture_bytes(kind=kind, size=(64, 64))
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just text", "not a JPEG, PNG, WebP, GIF, BMP or TIFF picture"),
        (b"%PDF-1.7\n", "but PDF"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "but SVG"),
        (b"<!doctype html><html></html>", "but HTML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "but HEIC"),
        (b"GIF89a\0\0\0\0\0\0\0;", "not a JPEG"),
        (b"\xff\xd8\xff", "broken|not a JPEG"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data, suffix=".jpg")


def test_a_name_that_contradicts_the_content_is_refused(picture_bytes):
    with pytest.raises(ImageError, match=r"the content is PNG, but the name ends in \.jpg"):
        decode(picture_bytes(kind="PNG"), suffix=".jpg")


def test_a_speck_is_refused(picture_bytes):
    with pytest.raises(ImageError, match="7 x 40 pixels, at least 8"):
        decode(picture_bytes(size=(7, 40)))


def test_thirty_two_bit_samples_are_refused():
    with pytest.raises(ImageError, match="32-bit"):
        decode(saved(Image.new("F", (10, 10)), "TIFF"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_is_refused_or_decoded_and_never_crashes(picture_bytes):
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        sound = np.frombuffer(picture_bytes(kind=kind), dtype=np.uint8)
        for _ in range(150):
            damaged = sound.copy()
            damaged[rng.integers(0, len(sound), 4)] = rng.integers(0, 256, 4)
            with contextlib.suppress(ImageError):
                assert decode(damaged.tobytes()).mode == "RGB"


def test_the_square_is_the_centre_and_a_ribbon_does_not_fill_memory():
    ribbon = Image.new("RGB", (1_000_000, 8), "red")
    ribbon.paste("blue", (499_990, 0, 500_010, 8))
    square = Preprocessing(size=96).square(ribbon)
    assert square.shape == (3, 96, 96)
    assert (square[2] == 255).all()


def test_a_letterboxed_picture_is_seen_whole_and_keeps_its_proportions() -> None:
    bottle = Image.new("RGB", (60, 200), "green")
    bottle.paste("red", (0, 0, 60, 20))  # the cap
    bottle.paste("blue", (0, 180, 60, 200))  # the base
    seen = Image.fromarray(Preprocessing(size=100, resize="letterbox").square(bottle).transpose(1, 2, 0))
    assert [seen.getpixel((50, y)) for y in (4, 50, 95)] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert seen.getpixel((20, 50)) == seen.getpixel((80, 50)) == (255, 255, 255)
    assert (np.asarray(seen)[50].min(axis=1) < 255).sum() == 30
    cropped = Preprocessing(size=100).square(bottle)
    assert not (cropped[0] == 255).any()  # neither cap nor margin


@pytest.mark.parametrize("size", [(8, 4_000_000), (4_000_000, 8), (8, 8), (33, 32)])
def test_any_picture_is_letterboxed_without_filling_the_memory(size: tuple[int, int]) -> None:
    square = Preprocessing(size=32, resize="letterbox").square(Image.new("RGB", size, "blue"))
    assert square.shape == (3, 32, 32)
    assert (square[0] == 0).any()


def test_letterboxing_a_square_again_changes_nothing() -> None:
    how = Preprocessing(size=48, resize="letterbox")
    once = how.square(Image.radial_gradient("L").resize((70, 31)).convert("RGB"))
    assert np.array_equal(how.square(Image.fromarray(once.transpose(1, 2, 0))), once)


@pytest.mark.parametrize("resize", ["shortest", "squash", "letterbox"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_are_prepared_as_open_clip_prepares_them(resize: Any, interpolation: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((200, 128), Image.Resampling.BILINEAR)
    mine = Preprocessing(size=64, resize=resize, interpolation=interpolation)
    square = mine.normalise(torch.from_numpy(mine.square(picture))[None])[0]
    named = {"letterbox": "longest"}.get(resize, resize)  # there, the margin is black unless it is chosen
    how = PreprocessCfg(size=64, resize_mode=named, interpolation=interpolation, fill_color=255)
    theirs = image_transform_v2(how, is_train=False)(picture)
    difference = (square - theirs).abs() * 255 * min(mine.std)
    assert difference.mean() < 0.7  # grey levels: they resize first and cut afterwards, at whole pixels
    assert difference.max() < 8


def test_a_ribbon_is_squashed_without_filling_the_memory() -> None:
    tall = Image.new("L", (8, 4_000_000), "white")
    assert (Preprocessing(size=96, resize="squash").square(tall) == 255).all()
