"""What several test files share: small real pictures, and the folder of real photographs where there is one."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("any machine", deadline=None)  # a busy machine takes longer than any deadline
settings.load_profile("any machine")

PictureMaker = Callable[..., bytes]

LONGEST = (
    "test_journey.py",
    "test_kills.py",
    "test_package.py",
    "test_rollback.py",
    "test_prefect_server.py",
    "test_postgres.py",
    "test_gpu_measurement.py",
    "test_own_csv.py",
    "test_backbone_of_a_shop.py",
    "test_nights.py",
    "test_ablate.py",
    "test_picture_attacks.py",
    "test_erase_interrupted.py",
    "test_answers_attacks.py",
    "test_trainer.py",
)
"""Files that take minutes: begun first, so that no core waits for them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all others stay in their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def _picture_bytes(seed: int = 0, *, kind: str = "JPEG", size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def picture_bytes() -> PictureMaker:
    """``picture_bytes(seed, kind="JPEG", size=(24, 16), mode="RGB")``: a picture of noise, as a file's bytes."""
    return _picture_bytes


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="session")
def png_header() -> Callable[[int, int], bytes]:
    """``png_header(width, height)``: a PNG that claims this size, as a file's bytes."""
    return _png_header


PACKAGES = Path(__file__).parents[1] / ".ci" / "packages.txt"
"""Debian packages that tests need."""
PROGRAM_FOLDERS = ("/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True))
"""Where Debian puts programs outside of a user's PATH."""


def required_program(name: str, *, package: str) -> Path:
    """Path of a program of a Debian package that ``.ci/packages.txt`` lists.

    Where it is missing, the test is skipped; with ``CI=true`` it fails.
    """
    listed = [line.partition("#")[0].strip() for line in PACKAGES.read_text(encoding="utf-8").splitlines()]
    assert package in listed, f"add {package} to {PACKAGES}: a test needs its program {name}"
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *PROGRAM_FOLDERS]))
    if found is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"{name} is not installed: sudo .ci/install-packages, or Debian's package {package}")
    return Path(found)


@pytest.fixture(scope="session")
def program() -> Callable[..., Path]:
    """``program(name, package="nginx")``: path of a program; the test is skipped without it, and fails with CI=true."""
    return required_program


@pytest.fixture(scope="session")
def grocery_path() -> Path:
    """Folder of the Grocery Store data set: $ENTITYCLIP_GROCERY, or ../shared/grocery beside the repository."""
    beside = Path(__file__).parent.parent.parent / "shared" / "grocery"
    path = Path(os.environ.get("ENTITYCLIP_GROCERY", beside))
    if not (path / "classes.csv").is_file():
        pytest.skip(f"the Grocery Store data set is not in {path}; set ENTITYCLIP_GROCERY to its folder")
    return path
