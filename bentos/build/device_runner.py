"""Finds and tags the entities of this folder, with onnxruntime, numpy and Pillow alone.

    python runner.py tag picture.jpg another.jpg     several pictures of one thing
    python runner.py search "赤いやかん" --k 5         a name, a code, or a description

Prints JSON. In a program: ``DevicePackage(folder).tag(picture)``. Uses no network.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import html
import io
import json
import platform
import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageCms, ImageOps


class DevicePackage:
    """A model's towers with the entities that it can find.

    Raises:
        ValueError: A file is missing or damaged, or int8 is not proven for this kind of processor.
    """

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        self.card = json.loads((folder / "device.json").read_text(encoding="utf-8"))
        if (machine := platform.machine().lower()) not in (machines := self.card["machines"] or [machine]):
            raise ValueError(f"int8 is proven for {', '.join(machines)}, not for {machine}; make the folder with onnx")
        for name, digest in self.card["files"].items():
            path = folder / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ValueError(f"{path}: missing or damaged; copy the folder again")
        self.entities = json.loads((folder / "entities.json").read_text(encoding="utf-8"))
        arrays = np.load(folder / "vectors.npz", allow_pickle=False)
        self.mixed, self.offsets, self.texts, self.images = (arrays[n] for n in ("mixed", "offsets", "texts", "images"))
        self.pictured, self.groups = arrays["pictured"], arrays["groups"]
        cpu = ["CPUExecutionProvider"]
        self._image = onnxruntime.InferenceSession(str(folder / "image.onnx"), providers=cpu)
        self._words: Any = None
        if (folder / "text.onnx").is_file():
            self._text = onnxruntime.InferenceSession(str(folder / "text.onnx"), providers=cpu)
            self._words = _Tokenizer(folder / "tokenizer.json", self.card["context"])
        self._names: dict[str, list[int]] = {}
        for row, entity in enumerate(self.entities):
            for key in {_key(name) for name in (entity["entity"], *entity["aliases"])} - {""}:
                self._names.setdefault(key, []).append(row)

    def tag(self, *pictures: Image.Image, k: int = 5) -> list[dict[str, Any]]:
        """The ``k`` most likely entities, best first; ``sure`` if the calibrated thresholds are reached."""
        vector = np.stack([self.embed_picture(picture) for picture in pictures]).mean(axis=0)
        vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        scores = self.mixed @ vector + self.offsets
        odds = np.exp(self.card["scale"] * (scores - scores.max()))
        confidences, rows = odds / odds.sum(), _best(scores, k)
        least = np.array(self.card["least_confidence"], np.float64)  # None, which no tag reaches, becomes nan
        sure = self._known(scores, rows, vector) & (confidences[rows] >= least)
        found = zip(rows.tolist(), scores[rows].tolist(), confidences[rows].tolist(), sure.tolist(), strict=True)
        return [self.entities[row] | {"score": s, "confidence": c, "sure": y} for row, s, c, y in found]

    def search(self, text: str, k: int = 5) -> list[dict[str, Any]]:
        """The ``k`` entities nearest to a text; those of this very name or code come first, and are ``exact``.

        Raises:
            ValueError: The folder has no text tower, and no entity has this name.
        """
        if not (rows := list(named := self._names.get(_key(text), []))) and self._words is None:
            raise ValueError(f"no entity is named {text!r}, and this folder finds names and codes alone")
        similarities = np.ones(len(self.entities)) if self._words is None else self.texts @ self.embed_text(text)
        if self._words is not None:
            rows += [row for row in _best(similarities, k + len(named)).tolist() if row not in named]
        return [self.entities[row] | {"score": float(similarities[row]), "exact": row in named} for row in rows[:k]]

    def embed_picture(self, picture: Image.Image) -> np.ndarray:
        """Picture -> (D,) unit vector."""
        how = self.card["preprocessing"]
        pixels = np.asarray(_square(picture, how), np.float32).transpose(2, 0, 1) / 255
        mean, std = (np.array(how[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
        return self._image.run(None, {"pictures": ((pixels - mean) / std)[None]})[0][0]

    def embed_text(self, text: str) -> np.ndarray:
        """Text -> (D,) unit vector; a text beyond the tower's context loses its end."""
        return self._text.run(None, {"ids": np.array([self._words.ids(text)], np.int64)})[0][0]

    def _known(self, similarities: np.ndarray, rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Whether the open-set rule accepts each tag: that it shows something of the catalogue at all."""
        if (rule := self.card["open_set"]) is None:
            return np.ones(len(rows), bool)
        first = _best(similarities, 2)
        second = similarities[first[1]] if len(first) > 1 else -1.0
        margin = similarities[rows] - np.where(rows == first[0], second, similarities[first[0]])
        photographs, there = self.images[rows] @ vector, self.pictured[rows]
        score = rule["cosine"] * similarities[rows] + rule["margin"] * margin + rule["intercept"]
        score = score + np.where(there, rule["photographs"] * photographs, rule["without_photographs"])
        least = np.array(rule["least_by_group"], np.float64)  # None, which no score reaches, becomes nan
        return 1 / (1 + np.exp(-np.clip(score, -60, 60))) >= least[self.groups[rows]]


class _Tokenizer:
    """The byte-pair merges of ``tokenizer.json``, with bytes for unknown characters."""

    def __init__(self, path: Path, context: int) -> None:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        self._vocab, self._most = model["vocab"], context - 2
        self._rank = {tuple(pair): number for number, pair in enumerate(model["merges"])}
        kana = "ァ-ヺーぁ-ゖ一-龯々〆ヶ"
        self._split = re.compile(rf"[ァ-ヺー]+|[ぁ-ゖ]+|[一-龯々〆ヶ]+|[^\W\d_{kana}]+|\d|[^\w\s]|_|\S")
        self._pieces = lru_cache(maxsize=10_000)(self._merged)

    def ids(self, text: str) -> list[int]:
        plain = unicodedata.normalize("NFKC", html.unescape(html.unescape(unicodedata.normalize("NFKC", text)))).lower()
        words = [number for word in self._split.findall(plain) for number in self._pieces(word)]
        return [self._vocab["<s>"], *words[: self._most], self._vocab["</s>"]]

    def _merged(self, word: str) -> list[int]:
        signs = ([c] if c in self._vocab else [f"<0x{byte:02X}>" for byte in c.encode()] for c in word)
        parts = [part for sign in signs for part in sign]
        while len(parts) > 1:
            rank, place = min((self._rank.get(pair, np.inf), place) for place, pair in enumerate(pairwise(parts)))
            if rank == np.inf:
                break
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        return [self._vocab[piece] for piece in parts]


def open_picture(path: Path) -> Image.Image:
    """A picture upright, in sRGB, transparency on white."""
    picture: Image.Image = Image.open(path)
    if picture.width * picture.height > 64_000_000:
        raise ValueError(f"{path}: {picture.width} x {picture.height} pixels, at most 64 million are decoded")
    if picture.mode in ("I", "F"):
        raise ValueError(f"{path}: 32-bit samples; save the picture with 8 or 16 bits per channel")
    ImageOps.exif_transpose(picture, in_place=True)
    rgb, profile = picture, picture.info.get("icc_profile") or b""
    if picture.mode.startswith("I;16"):  # Pillow's own conversion cuts off at 255
        rgb = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.has_transparency_data:
        layer = picture.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a profile that does not fit is ignored
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        rgb = rgb if source.profile.xcolor_space.strip() in ("GRAY", "CMYK") else rgb.convert("RGB")
        return ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or rgb
    return rgb.convert("RGB")


def _square(picture: Image.Image, how: dict[str, Any]) -> Image.Image:
    side, filter_ = how["size"], Image.Resampling[how["interpolation"].upper()]
    if how["resize"] == "squash" and picture.height > 16 * picture.width:  # Pillow resizes across first
        picture = picture.resize((picture.width, side), filter_)
    width, height = picture.size
    if how["resize"] == "letterbox":
        small = [max(1, round(side * length / max(width, height))) for length in (width, height)]
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture.resize(small, filter_), ((side - small[0]) // 2, (side - small[1]) // 2))
        return square
    least = min(width, height)
    left, top = (width - least) // 2, (height - least) // 2
    box = (0, 0, width, height) if how["resize"] == "squash" else (left, top, left + least, top + least)
    return picture.resize((side, side), filter_, box=box)


def _key(name: str) -> str:
    return re.sub(r"[\W_ー]+", "", unicodedata.normalize("NFKC", name).casefold())


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:k]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tag", "search"))
    parser.add_argument("given", nargs="+", help="pictures for tag, a text for search")
    parser.add_argument("--k", type=int, default=5, help="number of results")
    options = parser.parse_args()
    try:
        package, pictures = DevicePackage(), [Path(name) for name in options.given if options.what == "tag"]
        text = " ".join(options.given)
        found = package.tag(*map(open_picture, pictures), k=options.k) if pictures else package.search(text, options.k)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps(found, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
