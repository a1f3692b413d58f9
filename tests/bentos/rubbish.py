"""Malformed requests of every kind: pictures, JSON, forms, and random bytes."""

import io
import json
import random
import struct
import zlib

from PIL import Image
from tiny import tiny_picture

PATHS = (
    *("/search", "/tag", "/match", "/embed_texts", "/embed_images"),
    *("/entities", "/entities/remove", "/feedback", "/about"),
)
FIELDS = (
    *("text", "image", "images", "texts", "k", "index", "target", "rerank", "precision", "categories", "tags", "since"),
    *("entity", "entity_id", "explanations", "date", "release", "verdict"),
)
TYPES = ("application/json", "multipart/form-data; boundary=x", "text/plain", "image/png", "", "a/b; c=\xe9")
CONTROL = "".join(map(chr, range(32))) + "\x7f\x85\u200b\u202e\u2028\ufeff"


def _saved(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pictures() -> dict[str, bytes]:
    """Sound ones, strange ones, broken ones, and what only claims to be one."""
    sound, other = tiny_picture("red", 1), tiny_picture("blue", 2)
    png, jpeg = _saved(sound, "PNG"), _saved(sound, "JPEG")
    animated = {"save_all": True, "append_images": [other] * 5}

    def claims(width: int, height: int) -> bytes:
        return png[:8] + _chunk(b"IHDR", struct.pack(">II", width, height) + png[24:29]) + png[33:]

    return {
        "png": png,
        "jpeg": jpeg,
        "cmyk": _saved(sound.convert("CMYK"), "JPEG"),
        "progressive": _saved(sound, "JPEG", progressive=True),
        "16 bit": _saved(Image.new("I;16", (40, 40), 40_000), "PNG"),
        "palette with transparency": _saved(sound.convert("P"), "PNG", transparency=0),
        "animated gif": _saved(sound, "GIF", **animated),
        "animated webp": _saved(sound, "WEBP", **animated),
        "animated png": _saved(sound, "PNG", **animated),
        "alpha": _saved(sound.convert("RGBA"), "WEBP"),
        "one bit": _saved(Image.new("1", (9, 9)), "TIFF"),
        "bmp": _saved(sound, "BMP"),
        "narrow": _saved(Image.new("RGB", (8, 3000)), "PNG"),
        "one pixel": _saved(Image.new("RGB", (1, 1)), "PNG"),
        "large": _saved(Image.new("RGB", (3000, 2000)), "PNG"),
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "header alone": png[:33],
        "60,000 x 60,000": claims(60_000, 60_000),
        "0 x 0": claims(0, 0),
        "-1 x -1": claims(2**32 - 1, 2**32 - 1),
        "text that unpacks to 50 MB": png[:33]
        + _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
        + png[33:],
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "gif and pdf": b"GIF89a" + b"%PDF-1.7" * 20,
        "jpeg and zip and html": jpeg + b"PK\x03\x04" + b"<html>" * 10,
        "empty": b"",
        "zeros": b"\x00" * 100,
    }


def value(rng: random.Random) -> object:
    """Any JSON."""
    simple = [None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", " ", "x", "KX-RED", "\x00", CONTROL]
    simple += ["やかん", "a" * 5000, "1e5", "[1]", "😀" * 300, "\ud800", "2026-13-45", "2026-01-01"]
    simple += ["http://169.254.169.254/", "../../etc/passwd", "v1.0.0", "missing", '" OR 1=1 --', "NEAR(a b)*"]
    shape = rng.random()
    if shape < 0.7:
        return rng.choice(simple)
    if shape < 0.85:
        return [value(rng) for _ in range(rng.randrange(4))]
    return {str(value(rng)): value(rng) for _ in range(rng.randrange(3))}


def bodies() -> dict[str, str]:
    """JSON that is large in one way."""
    return {
        "deep": '{"text": ' + "[" * 50_000 + "]" * 50_000 + "}",
        "1 MB of text": '{"text": "' + "a" * 1_000_000 + '"}',
        "50,000 fields": "{" + ",".join(f'"{n}": 1' for n in range(50_000)) + "}",
        "a number of 100,000 digits": '{"text": "x", "k": ' + "9" * 100_000 + "}",
        "50,000 texts": json.dumps({"texts": ["a"] * 50_000}),
        "vectors that are no numbers": '{"texts": [NaN, Infinity, -Infinity], "vectors": [[NaN]]}',
    }


def sound(path: str, picture: bytes) -> dict:
    """A request that is answered, if the picture can be: between the rubbish, so that all of the service is at work."""
    image = {"files": {"image": ("p", picture)}}
    return {
        "/search": image | {"data": {"text": "a disc", "target": "entities"}},
        "/tag": image,
        "/match": image | {"data": {"text": "a disc"}},
        "/embed_texts": {"json": {"texts": ["a disc", CONTROL + "x", "a" * 2000]}},
        "/embed_images": {"files": {"images": ("p", picture)}},
        "/entities": {"files": {"images": ("p", picture)}, "data": {"entity": "KX-NEW", "keep_pictures": "false"}},
        "/entities/remove": {"json": {"entity_id": "none"}},
        "/feedback": image | {"data": {"release": "v1.0.0", "verdict": "missing", "entity": "KX-NEW"}},
        "/about": {"json": {}},
    }[path]


def request(rng: random.Random, path: str, files: list[bytes], large: list[str]) -> dict:
    """One request: sound, JSON, a form, or bytes that are neither."""
    kind, as_json = rng.random(), {"content-type": "application/json"}
    if kind < 0.15:
        return sound(path, rng.choice(files))
    if kind < 0.35:
        payload = {rng.choice(FIELDS): value(rng) for _ in range(rng.randrange(4))}
        return {"content": json.dumps(payload), "headers": as_json}
    if kind < 0.75:
        sent = [(rng.choice(("image", "images")), (rng.choice(("a.png", "a\x01", "a" * 300)), rng.choice(files)))]
        typed = {rng.choice(FIELDS): str(value(rng)).encode(errors="replace") for _ in range(rng.randrange(3))}
        return {"files": sent * rng.randrange(1, 3), "data": typed}
    if kind < 0.88:
        content = bytearray(json.dumps({"text": "KX-RED", "k": 3}).encode())
        content[rng.randrange(len(content))] = rng.randrange(256)
        return {"content": bytes(content), "headers": as_json}
    if kind < 0.9:
        return {"content": rng.choice(large), "headers": as_json}
    content = rng.randbytes(rng.randrange(300)) * rng.choice((1, 1, 1000))
    return {"content": content, "headers": {b"content-type": rng.choice(TYPES).encode("latin-1")}}
