"""Pictures that are small as files and huge in memory, several at once, against a service as it runs."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from callers import bearer
from PIL import Image
from served import package, released, store_home  # noqa: F401  (fixtures)

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from entityclip.data.picture_memory import DECODED_BYTES
from entityclip.paths import StateLayout

AT_ONCE = 6
ALLOWANCE = 250e6
"""Bytes beside the pictures: files, forms, what the towers and the allocator keep."""

pytestmark = pytest.mark.slow


class Target(NamedTuple):
    """A running service with one worker."""

    url: str
    administrator: dict[str, str]


@pytest.fixture(scope="module")
def target(store_home: Path, tmp_path_factory) -> Iterator[Target]:  # noqa: F811
    state = StateLayout(tmp_path_factory.mktemp("state"))
    key = keys.make(state.keys, name="all", scopes=("query", "entities"), per_minute=1_000_000, max_concurrency=1000)
    with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
        yield Target(url, bearer(key))


def picture(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (side, side), (200, 30, 90, 120)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def send(target: Target, path: str, data: bytes) -> int:
    field = "images" if path == "/entities" else "image"
    values = {"entity": "ポンプ KX-64"} if path == "/entities" else {}
    with httpx.Client(base_url=target.url, headers=target.administrator, timeout=120) as client:
        return client.post(path, data=values, files={field: ("写真.png", data)}).status_code


def resident(name: str) -> int:
    """Bytes of all processes of the service: VmRSS now, VmHWM at its peak."""
    found = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(OSError):  # it has just ended
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            found += next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
    return found


def start_of_peak() -> int:
    """Reset every process's peak once the service is idle, and return the bytes that they hold."""
    end, before = time.monotonic() + 120, -1
    while abs((now := resident("VmRSS")) - before) > 1e6 and time.monotonic() < end:  # a request given up still runs
        before = now
        time.sleep(3)
    for process in psutil.Process().children(recursive=True):
        with suppress(OSError):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return resident("VmRSS")


@pytest.mark.parametrize("path", ["/entities", "/tag"])
def test_six_pictures_of_64_megapixels_take_the_documented_memory_together(target, path):
    assert send(target, path, picture(64)) == 200
    huge, before = picture(8000), start_of_peak()
    with ThreadPoolExecutor(AT_ONCE) as senders:
        answers = list(senders.map(lambda _: send(target, path, huge), range(AT_ONCE)))
    grown = resident("VmHWM") - before
    print(f"{path}: {grown / 1e6:.0f} MB for {AT_ONCE} pictures, answers {answers}")
    assert grown <= DECODED_BYTES + ALLOWANCE
    assert set(answers) <= {200, 503, 504}
    assert httpx.get(f"{target.url}/readyz", timeout=30).status_code == 200


@pytest.mark.parametrize("path", ["/entities", "/tag"])
def test_picture_beyond_the_limits_is_refused_and_takes_no_memory(target, path):
    before = start_of_peak()
    stream = io.BytesIO()
    Image.new("1", (13000, 13000)).save(stream, "PNG")
    assert send(target, path, stream.getvalue()) == 422
    assert resident("VmHWM") - before <= ALLOWANCE
