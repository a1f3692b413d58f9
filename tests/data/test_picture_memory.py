"""Decoding takes the memory that is documented: measured in processes of their own, and shared by all threads."""

import io
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from entityclip.data.images import MAX_PIXELS, MAX_WEBP_PIXELS, PIXEL_BYTES, decode, opened, strip_metadata
from entityclip.data.picture_memory import BUDGET, DECODED_BYTES, ByteBudget
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ImageError

SIDE = 2000
ALLOWANCE = 24e6
"""Bytes that a process needs beside the picture: decoders' tables, one band of rows."""


def gradient(side: int = SIDE) -> Image.Image:
    row = np.linspace(0, 255, side, dtype=np.uint8)
    return Image.fromarray(
        np.stack(
            [
                np.tile(row, (side, 1)),
                np.tile(row[:, None], (1, side)),
                np.full_like(np.empty((side, side), np.uint8), 90),
            ],
            axis=-1,
        )
    )


def transparent(picture: Image.Image) -> Image.Image:
    row = np.linspace(0, 255, picture.width, dtype=np.uint8)
    picture.putalpha(Image.fromarray(np.tile(row, (picture.height, 1))))
    return picture


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


FILES = {
    "jpeg": ("RGB", {"format": "JPEG"}),
    "progressive jpeg": ("RGB", {"format": "JPEG", "progressive": True, "subsampling": 0}),
    "progressive cmyk jpeg": ("CMYK", {"format": "JPEG", "progressive": True}),
    "turned jpeg": ("RGB", {"format": "JPEG", "exif": turned()}),
    "png": ("RGB", {"format": "PNG"}),
    "rgba png": ("RGBA", {"format": "PNG"}),
    "turned rgba png": ("RGBA", {"format": "PNG", "exif": turned()}),
    "la png": ("LA", {"format": "PNG"}),
    "palette png": ("P", {"format": "PNG", "transparency": 3}),
    "gif": ("P", {"format": "GIF", "transparency": 3}),
    "tiff of one strip": ("RGBA", {"format": "TIFF", "compression": "tiff_deflate", "tiffinfo": {278: SIDE}}),
    "webp": ("RGBA", {"format": "WEBP", "lossless": True, "method": 0}),
}

_MEASURED = """
import sys
from entityclip.data.images import decode, decoded_bytes, strip_metadata, _opened
def bytes_of(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
small, data = (open(path, "rb").read() for path in sys.argv[2:])
use = {"decode": decode, "strip": strip_metadata}[sys.argv[1]]
use(small)  # loads the decoder
before = bytes_of("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
use(data)
print(bytes_of("VmHWM") - before, decoded_bytes(_opened(data)))
"""


def file(name: str, side: int) -> bytes:
    mode, how = FILES[name]
    picture = gradient(side)
    picture = transparent(picture).convert(mode) if mode in ("RGBA", "LA") else picture.convert(mode)
    stream = io.BytesIO()
    picture.save(stream, **how)
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("use", ["decode", "strip"])
@pytest.mark.parametrize("name", FILES)
def test_peak_of_resident_memory_is_what_the_budget_counts(name, use, tmp_path):
    (tmp_path / "small").write_bytes(file(name, 64))
    (tmp_path / "写真").write_bytes(file(name, SIDE))
    command = [sys.executable, "-c", _MEASURED, use, str(tmp_path / "small"), str(tmp_path / "写真")]
    peak, counted = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert peak <= counted + ALLOWANCE


def test_largest_picture_fits_the_budget():
    assert PIXEL_BYTES * MAX_PIXELS <= DECODED_BYTES
    assert 25 * MAX_WEBP_PIXELS <= DECODED_BYTES


@pytest.mark.parametrize("use", [decode, strip_metadata, Preprocessing().square_of])
def test_picture_beyond_the_limits_is_refused_before_a_pixel_is_decoded(use):
    stream = io.BytesIO()
    Image.new("L", (9000, 8000)).save(stream, "PNG", compress_level=1)
    started = time.process_time()
    with pytest.raises(ImageError, match="9000 x 8000 pixels, at most 64,000,000"):
        use(stream.getvalue())
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize("name", ["rgba png", "la png", "palette png", "gif"])
def test_transparency_by_bands_gives_the_same_pixels_as_the_whole_picture(name):
    data = file(name, 1500)
    layer = Image.open(io.BytesIO(data)).convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    assert decode(data).tobytes() == whole.tobytes()


def test_threads_never_hold_more_than_the_budget(monkeypatch):
    data, counted = file("rgba png", 400), PIXEL_BYTES * 400 * 400
    BUDGET_OF_TWO = ByteBudget(2 * counted)
    monkeypatch.setattr("entityclip.data.images.BUDGET", BUDGET_OF_TWO)
    inside, most, lock = 0, 0, threading.Lock()

    def use() -> None:
        nonlocal inside, most
        with opened(data):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=use) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_failures_give_their_memory_back():
    before = BUDGET._used
    for broken in (file("rgba png", 400)[:-2000], file("jpeg", 64)[:200]):
        with pytest.raises(ImageError):
            decode(broken)
    with pytest.raises(ZeroDivisionError), opened(file("png", 64)):
        1 / 0  # noqa: B018
    assert BUDGET._used == before


def test_what_is_larger_than_the_budget_waits_until_it_is_alone_and_is_not_overtaken():
    budget, order = ByteBudget(10), []
    first = threading.Event()

    def take(name: str, count: int) -> None:
        with budget.taken(count):
            order.append(name)

    with budget.taken(4):
        large = threading.Thread(target=take, args=("large", 100))
        large.start()
        while len(budget._waiting) < 1:
            first.wait(0.001)
        small = threading.Thread(target=take, args=("small", 1))
        small.start()
        small.join(0.05)
        assert order == []
    large.join()
    small.join()
    assert order == ["large", "small"]


def test_budget_shrinks_to_a_container_and_never_grows():
    budget = ByteBudget(100)
    budget.shrink(40)
    budget.shrink(1000)
    budget.shrink(0)
    assert budget.limit == 1
    with budget.taken(50):
        pass
