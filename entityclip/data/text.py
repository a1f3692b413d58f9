"""The one way a text gets to the tower, and the masking of names in the text that trains the bridge.

The libraries of the tokenizers are imported where they are used: who only reads settings does not wait for torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from entityclip.architectures import Architecture, portable, settings
from entityclip.errors import ConfigError
from entityclip.schemas import Record

if TYPE_CHECKING:
    import torch

_LATIN, _KATAKANA = "[A-Za-z0-9]", "[ァ-ヺー]"
_PARTS = re.compile(r"[ァ-ヺー]+|[^\W\d_]+?(?=[ァ-ヺー\d_\W]|$)|\d+")
_BETWEEN = r"[\s\-‐-―−・._/]*"


class Tokenisation(Record):
    """Which tokenizer reads texts, and how far. The checkpoint card carries it."""

    tokenizer: Architecture = Field(
        default="", description="Architecture whose tokenizer is used, as in the towers' config; '' is CLIP's BPE."
    )
    folder: str | None = Field(
        default=None,
        description="Local folder with the files of a Hugging Face tokenizer; None asks the cache or the hub.",
    )
    context: int = Field(default=77, ge=4, description="Longest text in tokens, start and end included.")

    def load(self) -> Tokenizer:
        """The tokenizer itself.

        Raises:
            ConfigError: Its architecture or its files are not there, or it is of an unknown kind.
        """
        return Tokenizer(self)

    def portable(self) -> Tokenisation:
        """The same without a folder or file of this machine."""
        return self.model_copy(update={"tokenizer": self.tokenizer and portable(self.tokenizer), "folder": None})


class Tokenizer:
    """Texts to token ids, padded to the longest text of the call.

    Texts are put into Unicode's NFKC form first: full-width letters and half-width kana read as plain ones.

    Attributes:
        pad: The id behind the end of shorter texts. CLIP's BPE uses 0, which is "!" inside a text.
        end: The id that ends a text; None where there is no such mark.
        vocabulary: One more than the largest id.
    """

    def __init__(self, config: Tokenisation) -> None:
        self.config = config
        text = settings(config.tokenizer)["text_cfg"] if config.tokenizer else {}
        options = dict(text.get("tokenizer_kwargs") or {})
        source = config.folder or text.get("hf_tokenizer_name")
        if text.get("tokenizer_mode") or options.get("reduction_mask"):
            raise ConfigError("tokenizer: tokenizer_mode and reduction_mask are not known here; leave them out")
        self._reader = HuggingFaceReader(source, options) if source else BpeReader(options)
        self.pad, self.end, self.vocabulary = self._reader.pad, self._reader.end, self._reader.vocabulary

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(B,) texts -> (B, L) int64, L at most ``context``; a longer text loses its end but keeps its end mark."""
        import torch

        rows = self._reader.ids(_plain(texts), most=self.config.context)
        longest = max(map(len, rows), default=1)
        padded = [row + [self.pad] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long).reshape(len(rows), longest)

    def truncated(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts -> (N,) bool: True where a text is longer than ``context`` and loses its end."""
        return np.array([len(row) > self.config.context for row in self._reader.ids(_plain(texts), most=None)], bool)

    def save(self, folder: Path) -> None:
        """Write the files of a Hugging Face tokenizer, for ``Tokenisation.folder``; CLIP's BPE has none."""
        self._reader.save(folder)


def _plain(texts: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFKC", text) for text in texts]


class BpeReader:
    """CLIP's own tokenizer, which comes with open_clip."""

    pad = 0

    def __init__(self, options: dict[str, Any]) -> None:
        import open_clip

        try:
            self._bpe = open_clip.SimpleTokenizer(**options)
        except (TypeError, AssertionError, OSError) as error:
            raise ConfigError(f"tokenizer_kwargs {options}: {error}") from error
        self.start, self.end = self._bpe.sot_token_id, self._bpe.eot_token_id
        self.vocabulary = self._bpe.vocab_size

    def ids(self, texts: list[str], *, most: int | None) -> list[list[int]]:
        """Ids of each text, at most ``most``."""
        kept = None if most is None else most - 2
        return [[self.start, *self._bpe.encode(text)[:kept], self.end] for text in texts]

    def save(self, folder: Path) -> None:
        """There is nothing to keep."""


class HuggingFaceReader:
    """A tokenizer by ``transformers``, with the cleaning that open_clip puts in front of it."""

    def __init__(self, source: str, options: dict[str, Any]) -> None:
        from open_clip.tokenizer import HFTokenizer

        try:
            wrapped = HFTokenizer(source, trust_remote_code=False, **options)
        except Exception as error:  # the libraries behind it raise anything, plain Exception included
            raise ConfigError(
                f"tokenizer {source!r}: cannot be loaded. Expected a folder with its tokenizer.json or vocabulary "
                f"as 'folder', or a name that is in the Hugging Face cache ({error})"
            ) from error
        self._tokenizer, self._clean, self._strip = wrapped.tokenizer, wrapped.clean_fn, wrapped.strip_sep_token
        if self._tokenizer.pad_token_id is None or self._tokenizer.padding_side != "right":
            raise ConfigError(f"tokenizer {source!r}: expected one that has a padding token and pads on the right")
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
    """``text`` (NFKC) with every one of ``names`` replaced, whatever its case, width, hyphens or dots.

    A name inside its own explanation is a shortcut that destroys the bridge from explanation to picture.
    The original stays as it is for people. A name of one Japanese character is left alone: 茶 is also half of 茶色.
    """
    pattern = _pattern(frozenset(names))
    plain = unicodedata.normalize("NFKC", text)
    return pattern.sub(substitute, plain) if pattern else plain


@lru_cache(maxsize=4096)
def _pattern(names: frozenset[str]) -> re.Pattern[str] | None:
    """All spellings of all names, the longest first; None where there is nothing to mask."""
    spelt = {unicodedata.normalize("NFKC", name) for name in names}
    parts = [found for name in sorted(spelt, key=len, reverse=True) if (found := _PARTS.findall(name))]
    bodies = [_spelling(found) for found in parts if len("".join(found)) > 1]
    return re.compile("|".join(bodies), re.IGNORECASE) if bodies else None


def _spelling(parts: list[str]) -> str:
    """``parts`` with anything that people write between them, and no letter of the same script adjoining."""
    kinds = (_LATIN, _KATAKANA)
    before = next((f"(?<!{kind})" for kind in kinds if re.match(kind, parts[0][0])), "")
    after = next((f"(?!{kind})" for kind in kinds if re.match(kind, parts[-1][-1])), "")
    return before + _BETWEEN.join(map(re.escape, parts)) + after
