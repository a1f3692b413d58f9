"""Rubbish in every form: no request may fail the service, and it answers right afterwards."""

import io
import json
import os
import random
import struct
import zlib

import psutil
import pytest
from PIL import Image
from tiny import tiny_picture

REQUESTS = int(os.environ.get("ENTITYCLIP_FUZZ", "1500"))
PATHS = ("/search", "/tag", "/match", "/embed_texts", "/embed_images", "/feedback", "/entities", "/about")
FIELDS = ("text", "image", "images", "texts", "k", "index", "of", "rerank", "precision", "entity", "entity_id", "since")

pytestmark = pytest.mark.slow


def _saved(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def pictures() -> list[bytes]:
    """Sound ones, strange ones, broken ones, and what only claims to be one."""
    sound = tiny_picture("red", 1)
    png, jpeg = _saved(sound, "PNG"), _saved(sound, "JPEG")
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + png[24:29]
    nothing = b"IHDR" + struct.pack(">II", 0, 0) + png[24:29]
    return [
        png,
        jpeg,
        _saved(sound.convert("CMYK"), "JPEG"),
        _saved(Image.new("I;16", (40, 40), 40_000), "PNG"),
        _saved(sound, "GIF", save_all=True, append_images=[tiny_picture("blue", 2)]),
        _saved(sound.convert("RGBA"), "WEBP"),
        _saved(Image.new("1", (9, 9)), "TIFF"),
        _saved(Image.new("RGB", (8, 3000)), "PNG"),
        jpeg[: len(jpeg) // 2],
        png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:],
        png[:12] + nothing + struct.pack(">I", zlib.crc32(nothing)) + png[33:],
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"GIF89a" + b"%PDF-1.7" * 20,
        jpeg + b"PK\x03\x04" + b"<html>" * 10,
        b"",
        b"\x00" * 100,
    ]


def value(rng: random.Random) -> object:
    """Any JSON."""
    simple = [None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "x", "KX-RED", "\x00", "\u202e\u0007"]
    simple += [
        "やかん",
        "a" * 5000,
        "1e5",
        "[1]",
        "😀" * 300,
        "2026-13-45",
        "http://169.254.169.254/",
        "../../etc/passwd",
    ]
    shape = rng.random()
    if shape < 0.7:
        return rng.choice(simple)
    if shape < 0.85:
        return [value(rng) for _ in range(rng.randrange(4))]
    return {str(value(rng)): value(rng) for _ in range(rng.randrange(3))}


def request(rng: random.Random, files: list[bytes]) -> dict:
    """One request: JSON, a form, or bytes that are neither."""
    kind = rng.random()
    if kind < 0.35:
        asked = {rng.choice(FIELDS): value(rng) for _ in range(rng.randrange(4))}
        return {"content": json.dumps(asked), "headers": {"content-type": "application/json"}}
    if kind < 0.75:
        sent = [(rng.choice(("image", "images")), (rng.choice(("a.png", "a\x01", "a" * 300)), rng.choice(files)))]
        return {"files": sent * rng.randrange(1, 3), "data": {rng.choice(FIELDS): str(value(rng)) for _ in range(2)}}
    if kind < 0.9:
        content = bytearray(json.dumps({"text": "KX-RED", "k": 3}).encode())
        content[rng.randrange(len(content))] = rng.randrange(256)
        return {"content": bytes(content), "headers": {"content-type": "application/json"}}
    content = rng.randbytes(rng.randrange(300)) * rng.choice((1, 1, 1000))
    types = ("application/json", "multipart/form-data; boundary=x", "text/plain", "image/png", "", "a/b; c=\xe9")
    return {"content": content, "headers": {b"content-type": rng.choice(types).encode("latin-1")}}


def test_no_rubbish_fails_the_service(client):
    rng, files = random.Random(0), pictures()
    statuses: dict[int, int] = {}
    memory = None
    for number in range(REQUESTS):
        path, sent = rng.choice(PATHS), request(rng, files)
        answer = client.post(path, **sent)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (path, sent, answer.text)
        assert answer.status_code < 400 or list(answer.json()) == ["error"]
        if number == REQUESTS // 3:
            memory = psutil.Process().memory_info().rss
    assert statuses.keys() >= {200, 400, 415, 422}
    assert memory is not None
    assert psutil.Process().memory_info().rss < 1.2 * memory
    assert client.post("/search", json={"text": "kx-red", "of": "entities"}).json()["hits"][0]["exact"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"text": ' + "[" * 50_000 + "]" * 50_000 + "}", 400),
        ('{"text": "' + "a" * 1_000_000 + '"}', 422),
        ("{" + ",".join(f'"{n}": 1' for n in range(50_000)) + "}", 422),
        ('{"text": "x", "k": ' + "9" * 100_000 + "}", 400),
    ],
)
def test_huge_json_is_refused_quickly_and_shortly(client, body, status):
    answer = client.post("/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    assert len(answer.content) < 2000
