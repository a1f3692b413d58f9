"""Tokenisation of texts, long ones in pieces, and masking of names in explanations used for training.

Tokenizer libraries are imported inside functions, so that reading settings does not import torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from entityclip.architectures import Architecture, portable, settings
from entityclip.errors import ConfigError
from entityclip.schemas import Record

if TYPE_CHECKING:
    import torch
    from open_clip import SimpleTokenizer

_LATIN, _KATAKANA = "[A-Za-z0-9]", "[ァ-ヺー]"
_PARTS = re.compile(r"[ァ-ヺー]+|[^\W\d_]+?(?=[ァ-ヺー\d_\W]|$)|\d+")
_BETWEEN = r"[\s\-‐-―−・._/]*"


class Tokenisation(Record):
    """The tokenizer and its context length. Stored in the checkpoint card."""

    tokenizer: Architecture = Field(
        default="", description="Architecture whose tokenizer is used, as in the towers' config; '' is CLIP's BPE."
    )
    folder: str | None = Field(
        default=None,
        description="Local folder with the files of a Hugging Face tokenizer; None: the Hugging Face cache or hub.",
    )
    learned: bool = Field(
        default=False,
        description="A tokenizer learned from the texts of the data, where the text tower starts from scratch; others "
        "keep their own. 'context' is then the most that the data may set.",
    )
    context: int = Field(default=77, ge=4, description="Maximum length in tokens, including start and end.")
    long_texts: Literal["pieces", "cut"] = Field(
        default="pieces",
        description="A text longer than 'context' is read in pieces, whose vectors are averaged; or it loses its end.",
    )
    most_cut: float = Field(
        default=0.01, ge=0, le=1, description="For 'cut': share of the texts that may lose their end."
    )

    def load(self, *, lengths: Sequence[int] = ()) -> Tokenizer:
        """Load the tokenizer; ``lengths`` as there.

        Raises:
            ConfigError: Its architecture or files are missing, its kind is unknown, or it is not learned yet.
        """
        if self.learned and self.folder is None:
            raise ConfigError(
                "tokenisation: the tokenizer is learned from the data when training begins, and 'folder' is not set; "
                "expected the tokenisation of a checkpoint or of a run that has begun"
            )
        return Tokenizer(self, lengths=lengths)

    def portable(self) -> Tokenisation:
        """The same without local paths."""
        return self.model_copy(update={"tokenizer": self.tokenizer and portable(self.tokenizer), "folder": None})


class Tokenizer:
    """Texts to token ids, padded to the longest text of the call, or to the next of some lengths.

    Texts are normalised to NFKC first: full-width letters and half-width kana equal their usual forms.

    Args:
        config: Which tokenizer.
        lengths: Numbers of tokens below ``context``. With any, batches are padded to the smallest that is enough, or to
            ``context``: there are few shapes, however many lengths the texts have.

    Attributes:
        pad: The padding id of shorter texts. CLIP's BPE uses 0, which is "!" inside a text.
        end: The id that ends a text; None if there is none.
        vocabulary: One more than the largest id.
    """

    def __init__(self, config: Tokenisation, *, lengths: Sequence[int] = ()) -> None:
        self.config = config
        self._lengths = sorted({*(n for n in lengths if n < config.context), config.context}) if lengths else []
        text = settings(config.tokenizer)["text_cfg"] if config.tokenizer else {}
        options = dict(text.get("tokenizer_kwargs") or {})
        source = config.folder or text.get("hf_tokenizer_name")
        if text.get("tokenizer_mode") or options.get("reduction_mask"):
            raise ConfigError("tokenizer: tokenizer_mode and reduction_mask are not supported; remove them")
        self._reader = HuggingFaceReader(source, options) if source else BpeReader(options)
        self.pad, self.end, self.vocabulary = self._reader.pad, self._reader.end, self._reader.vocabulary

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(B,) texts -> (B, L) int64, L at most ``context``; a longer text is truncated but keeps its end mark."""
        import torch

        rows = self._reader.ids(_plain(texts), most=self.config.context)
        longest = max(map(len, rows), default=1)
        longest = next((length for length in self._lengths if length >= longest), longest)
        padded = [row + [self.pad] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long).reshape(len(rows), longest)

    def pieces(self, text: str) -> list[str]:
        """``text`` in parts no longer than ``context``, cut at ends of sentences where they are near the middle; the
        text itself where it is short enough, or where the settings cut it off.
        """
        (plain,) = _plain([text])  # a character may become several, as ㍿ does
        most = len(plain.encode("utf-8", "replace")) + _MARKS  # no tokenizer has more tokens than bytes
        if self.config.long_texts == "cut" or most <= self.config.context:
            return [text]
        return _halved(plain, self._fits)

    def _fits(self, text: str) -> bool:
        return bool(self.lengths([text])[0] <= self.config.context)

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts -> (N,) tokens of each without truncation."""
        return np.array([len(row) for row in self._reader.ids(_plain(texts), most=None)], dtype=np.int64)

    def truncated(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts -> (N,) bool: True for texts that lose their end."""
        return (self.lengths(texts) > self.config.context) & (self.config.long_texts == "cut")

    def save(self, folder: Path) -> None:
        """Write the files of a Hugging Face tokenizer, for ``Tokenisation.folder``; CLIP's BPE has no files."""
        self._reader.save(folder)


_MARKS = 4
"""Tokens that a tokenizer adds to a text at most."""
_STOPS = (re.compile(r"[。．！？!?]+[」』）)\"']*|\.(?=\s)|\n+"), re.compile(r"[、，,;:：；]|\s+"))
"""Where a text may be divided: behind sentences, or else behind clauses and words."""


def _halved(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Parts of ``text`` that fit, in order, about equally long."""
    if len(text) < 2 or fits(text):
        return [text]
    at = _division(text)
    halves = [half for half in (text[:at].strip(), text[at:].strip()) if half]
    return [piece for half in halves for piece in _halved(half, fits)]


def _division(text: str) -> int:
    """Place of the stop nearest to the middle, inside the middle half; the middle itself where there is none."""
    middle = len(text) // 2
    for stop in _STOPS:
        places = [found.end() for found in stop.finditer(text)]
        near = [place for place in places if len(text) / 4 <= place <= 3 * len(text) / 4 and 0 < place < len(text)]
        if near:
            return min(near, key=lambda place: abs(place - middle))
    return middle


def _plain(texts: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFKC", text) for text in texts]


_REMEMBERED = 100_000
"""Words whose pieces CLIP's tokenizer remembers; it would keep every word that a caller ever made up."""


class _Words(dict[str, str]):
    """Pieces by word; a full one takes no more."""

    def __setitem__(self, word: str, pieces: str) -> None:
        if len(self) < _REMEMBERED:
            super().__setitem__(word, pieces)


def _bpe(**options: Any) -> SimpleTokenizer:
    from open_clip import SimpleTokenizer

    made = SimpleTokenizer(**options)
    made.cache = _Words(made.cache)
    return made


@cache
def _plain_bpe() -> SimpleTokenizer:
    """The tokenizer without options; it reads 49,000 pieces from a file, which takes a third of a second."""
    return _bpe()


class BpeReader:
    """CLIP's BPE tokenizer, from open_clip."""

    pad = 0

    def __init__(self, options: dict[str, Any]) -> None:
        try:
            self._bpe = _bpe(**options) if options else _plain_bpe()
        except (TypeError, AssertionError, OSError) as error:
            raise ConfigError(f"tokenizer_kwargs {options}: {error}") from error
        self.start, self.end = self._bpe.sot_token_id, self._bpe.eot_token_id
        self.vocabulary = self._bpe.vocab_size

    def ids(self, texts: list[str], *, most: int | None) -> list[list[int]]:
        """Ids of each text, at most ``most``."""
        kept = None if most is None else most - 2
        return [[self.start, *self._bpe.encode(text)[:kept], self.end] for text in texts]

    def save(self, folder: Path) -> None:
        """Do nothing: the tokenizer has no files."""


class HuggingFaceReader:
    """A tokenizer of ``transformers``, with open_clip's text cleaning."""

    def __init__(self, source: str, options: dict[str, Any]) -> None:
        from open_clip.tokenizer import HFTokenizer

        try:
            wrapped = HFTokenizer(source, trust_remote_code=False, **options)
        except Exception as error:  # its libraries may raise any exception
            raise ConfigError(
                f"tokenizer {source!r}: cannot be loaded. Expected a folder with its tokenizer.json or vocabulary "
                f"as 'folder', or a name that is in the Hugging Face cache ({error})"
            ) from error
        self._tokenizer, self._clean, self._strip = wrapped.tokenizer, wrapped.clean_fn, wrapped.strip_sep_token
        if self._tokenizer.pad_token_id is None or self._tokenizer.padding_side != "right":
            raise ConfigError(f"tokenizer {source!r}: expected one with a padding token and right padding")
        self.pad = self._tokenizer.pad_token_id
        marks = (self._tokenizer.eos_token_id, self._tokenizer.sep_token_id)
        self.end = next((mark for mark in marks if mark is not None), None)
        self.vocabulary = max(self._tokenizer.get_vocab().values()) + 1

    def ids(self, texts: list[str], *, most: int | None) -> list[list[int]]:
        """Ids of each text, at most ``most``."""
        cleaned = [self._clean(text) for text in texts]
        if not cleaned:
            return []
        rows = self._tokenizer(cleaned, truncation=most is not None, max_length=most, verbose=False).input_ids
        separator = self._tokenizer.sep_token_id
        return [[0 if i == separator else i for i in row] for row in rows] if self._strip else rows

    def save(self, folder: Path) -> None:
        """Write its files."""
        self._tokenizer.save_pretrained(folder)


def mask_names(text: str, names: Iterable[str], *, substitute: str = "this product") -> str:
    """``text`` (NFKC) with every one of ``names`` replaced, regardless of case, width, hyphens and dots.

    A name inside an explanation is a shortcut: the model would not learn to relate explanation and picture. Stored
    texts keep their names. A name of one Japanese character is not masked: 茶 is also part of 茶色.
    """
    pattern = _pattern(frozenset(names))
    plain = unicodedata.normalize("NFKC", text)
    return pattern.sub(substitute, plain) if pattern else plain


@lru_cache(maxsize=4096)
def _pattern(names: frozenset[str]) -> re.Pattern[str] | None:
    """Pattern of all spellings of all names, longest first; None if there is nothing to mask."""
    spelt = {unicodedata.normalize("NFKC", name) for name in names}
    parts = [found for name in sorted(spelt, key=len, reverse=True) if (found := _PARTS.findall(name))]
    bodies = [_spelling(found) for found in parts if len("".join(found)) > 1]
    return re.compile("|".join(bodies), re.IGNORECASE) if bodies else None


def _spelling(parts: list[str]) -> str:
    """Pattern of ``parts`` with optional separators between them, and no adjoining letter of the same script."""
    kinds = (_LATIN, _KATAKANA)
    before = next((f"(?<!{kind})" for kind in kinds if re.match(kind, parts[0][0])), "")
    after = next((f"(?!{kind})" for kind in kinds if re.match(kind, parts[-1][-1])), "")
    return before + _BETWEEN.join(map(re.escape, parts)) + after
