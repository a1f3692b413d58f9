"""Metadata: what a picture file carries beside its pixels is not stored, not sent and not shown."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from tiny import tiny_data
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.image_metadata import without_metadata
from entityclip.data.images import decode, strip_metadata
from entityclip.data.ingest import ingest
from entityclip.data.sources.table import TableSource
from entityclip.errors import ImageError
from entityclip.explanations.prompting import as_jpeg
from entityclip.paths import DataLayout, Layout

SECRET = b"hanako@example.jp"
PLACE = "35.6895N 東京都"
NOISE = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)


def exif(**tags: Any) -> Image.Exif:
    block = Image.Exif()
    block[0x010E] = SECRET.decode()  # ImageDescription
    gps = block.get_ifd(0x8825)
    gps[1], gps[2] = "N", (35.0, 41.0, 22.2)
    block[0x8825] = gps
    for name, value in tags.items():
        block[{"orientation": 0x0112}[name]] = value
    return block


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(NOISE)).save(stream, kind, **options)
    return stream.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def jpeg_with(*segments: bytes, after: bytes = b"", **options: Any) -> bytes:
    plain = saved("JPEG", **options)
    return plain[:2] + b"".join(segments) + plain[2:] + after


def png_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_itxt("Place", PLACE, zip=False)
    return saved("PNG", pnginfo=info, exif=exif())


def gif() -> bytes:
    frames = [Image.fromarray(np.roll(NOISE, shift)) for shift in (0, 5)]
    return saved("GIF", frames[0], save_all=True, append_images=frames[1:], comment=SECRET)


def mpo() -> bytes:
    second = Image.fromarray(NOISE[::-1])
    second.info["comment"] = SECRET
    return saved("MPO", save_all=True, append_images=[second], exif=exif())


CARRIERS: dict[str, Callable[[], bytes]] = {
    "a comment in a JPEG": lambda: saved("JPEG", comment=SECRET),
    "EXIF with GPS in a JPEG": lambda: saved("JPEG", exif=exif()),
    "XMP in a JPEG": lambda: jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + SECRET + b"</x>")),
    "IPTC in a JPEG": lambda: jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04" + SECRET)),
    "a preview in a JFIF header": lambda: jpeg_with(segment(0xE0, b"JFXX\0\x10" + SECRET)),
    "what follows the end of a JPEG": lambda: jpeg_with(after=SECRET),
    "a comment in a progressive JPEG": lambda: saved("JPEG", comment=SECRET, progressive=True),
    "the second picture of an MPO": mpo,
    "texts and EXIF in a PNG": png_text,
    "what follows the end of a PNG": lambda: saved("PNG") + SECRET,
    "an unknown chunk of a PNG": lambda: saved("PNG")[:33] + chunk(b"vpAg", SECRET) + saved("PNG")[33:],
    "a comment in a GIF": gif,
    "EXIF and XMP in a WebP": lambda: saved("WEBP", exif=exif(), xmp=b"<x>" + SECRET + b"</x>", lossless=True),
    "EXIF in an animated WebP": lambda: saved(
        "WEBP", save_all=True, append_images=[Image.new("RGB", (32, 20))], exif=exif(), lossless=True
    ),
    "a description in a TIFF": lambda: saved("TIFF", description=SECRET.decode()),
    "what follows the end of a BMP": lambda: saved("BMP") + SECRET,
}


@pytest.mark.parametrize("what", CARRIERS)
def test_nothing_but_the_pixels_is_stored(what: str) -> None:
    data = CARRIERS[what]()
    stored = strip_metadata(data)
    assert SECRET in data
    for trace in (SECRET, SECRET.decode().encode("utf-16-le"), b"GPS", b"Exif", b"EXIF", b"eXIf", "東京都".encode()):
        assert trace not in stored
    reopened = Image.open(io.BytesIO(stored))
    assert not reopened.getexif()
    assert not {"comment", "xmp", "exif", "photoshop", "Author", "Place"} & reopened.info.keys()
    assert getattr(reopened, "n_frames", 1) == 1
    assert np.array_equal(decode(stored), decode(data)), "the pixels are bit-equal: no compression with losses"
    assert strip_metadata(stored) == stored


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_file_without_metadata_stays_as_it_is(kind: str, picture_bytes: Callable[..., bytes]) -> None:
    data = picture_bytes(kind=kind)
    assert strip_metadata(data) == data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_stored_upright(orientation: int) -> None:
    smooth = Image.fromarray(NOISE[:5, :8]).resize((64, 40), Image.Resampling.BICUBIC)
    data = saved("JPEG", smooth, exif=exif(orientation=orientation), quality=90)
    stored = strip_metadata(data)
    upright, again = decode(data), Image.open(io.BytesIO(stored))
    assert again.size == upright.size == ((40, 64) if orientation > 4 else (64, 40))
    assert np.abs(np.asarray(again, int) - np.asarray(upright, int)).mean() < 3
    assert again.quantization == Image.open(io.BytesIO(data)).quantization, "no coarser, and hardly any larger"
    assert strip_metadata(stored) == stored


def gamma_profile(gamma: float) -> bytes:
    """sRGB's colours with another curve: what a wide or an old monitor's profile does to a picture."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for tag in range(count):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * tag)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
            profile[at : at + size] = curve.ljust(size, b"\0")
    return bytes(profile)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_colour_profile_is_applied_and_not_stored(kind: str) -> None:
    grey = Image.new("RGB", (32, 32), (100, 100, 100))
    data = saved(kind, grey, icc_profile=gamma_profile(1.0), **({"lossless": True} if kind == "WEBP" else {}))
    seen = np.asarray(decode(data))
    assert seen.min() > 150  # linear light of 100/255 is 168 in sRGB
    stored = strip_metadata(data)
    assert "icc_profile" not in Image.open(io.BytesIO(stored)).info
    assert np.abs(np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"), int) - seen).max() <= 1


@pytest.mark.parametrize("profile", ["sRGB", "rubbish"])
def test_a_profile_of_srgb_and_one_that_cannot_be_read_cost_no_quality(profile: str) -> None:
    block = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if profile == "sRGB" else b"rubbish"
    data = saved("JPEG", icc_profile=block)
    stored = strip_metadata(data)
    assert stored == saved("JPEG")
    assert np.array_equal(decode(stored), decode(data))


def test_a_profile_of_another_colour_space_than_the_picture_is_passed_over() -> None:
    data = saved("PNG", Image.new("L", (16, 16), 80), icc_profile=gamma_profile(1.0))
    assert decode(data).mode == "RGB"
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert np.array_equal(decode(saved("PNG", icc_profile=lab)), NOISE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("what", CARRIERS)
def test_a_decoded_picture_can_be_saved_without_care(what: str, kind: str) -> None:
    assert SECRET not in saved(kind, decode(CARRIERS[what]()))


def test_what_goes_to_a_language_model_holds_no_comment() -> None:
    assert SECRET not in as_jpeg(decode(saved("JPEG", comment=SECRET, exif=exif())))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
@settings(max_examples=60)
@given(cut=st.integers(0, 2000), junk=st.binary(max_size=40), at=st.integers(0, 2000))
def test_damaged_files_are_copied_or_given_up_and_never_crash(kind: str, cut: int, junk: bytes, at: int) -> None:
    data = saved(kind, comment=SECRET) if kind in ("JPEG", "GIF") else saved(kind)
    damaged = data[:at] + junk + data[at : len(data) - cut]
    copied = without_metadata(damaged, kind)
    assert copied is None or isinstance(copied, bytes)
    try:
        stored = strip_metadata(damaged)
    except ImageError:
        return
    assert isinstance(stored, bytes)


# ---------------------------------------------------------------- where pictures are kept
def test_ingest_keeps_pictures_without_metadata(tmp_path: Path) -> None:
    rows = []
    for number, make in enumerate(CARRIERS.values()):
        data = make()
        suffix = (Image.open(io.BytesIO(data)).format or "").lower().replace("mpo", "jpeg")
        (tmp_path / f"{number}.{suffix}").write_bytes(data)
        rows.append({"file": f"{number}.{suffix}", "entity": f"製品 {number}"})
    pd.DataFrame(rows).to_csv(tmp_path / "pictures.csv", index=False)
    staging = DataLayout(tmp_path / "staging")
    report = ingest(TableSource(tmp_path), staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    assert (report.pairs, report.rejected) == (len(CARRIERS), 0)
    for row in pairs.iter_rows(staging.pairs):
        assert SECRET not in row["image"]["bytes"]
        assert row["image_sha256"] == hashlib.sha256(row["image"]["bytes"]).hexdigest()


def test_the_same_photograph_with_another_comment_is_one_picture(tmp_path: Path) -> None:
    shas = set()
    for comment in (b"", SECRET):
        (tmp_path / "a.jpg").write_bytes(saved("JPEG", comment=comment))
        (tmp_path / "pictures.csv").write_text("file,entity\na.jpg,KX-RED\n")
        staging = DataLayout(tmp_path / "staging")
        ingest(TableSource(tmp_path), staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
        shas |= {row["image_sha256"] for row in pairs.iter_rows(staging.pairs)}
    assert len(shas) == 1


def audited(workspace: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", "--workspace", str(workspace), "--pictures", "--json"])
    return result.exit_code, result.stdout


def test_the_audit_finds_pictures_that_hold_metadata(tmp_path: Path) -> None:
    data = Layout(tmp_path).data
    tiny_data(data.root)
    code, text = audited(tmp_path)
    assert code == 0
    assert '"with_metadata": 0' in text
    (shard, *_) = pairs.shards(data.pairs)
    first, *others = pairs.iter_shard(shard)
    first["image"]["bytes"] = saved("JPEG", comment=SECRET)
    writer = pairs.PairsWriter(data.pairs)
    for row in (first, *others):
        writer.add(row)
    writer.close()
    code, text = audited(tmp_path)
    assert code == 1
    assert "1 contain metadata" in text
    assert first["pair_id"] in text
