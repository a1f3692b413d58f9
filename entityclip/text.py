"""The one way a text gets to the tower, and the masking of names in the text that trains the bridge."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import open_clip
import torch
from pydantic import Field

from entityclip.records import Record


class Tokenisation(Record):
    """Which tokenizer reads texts, and how far. The checkpoint card carries it."""

    tokenizer: str = Field(default="", description="open_clip architecture whose tokenizer is used; '' is CLIP's BPE.")
    context: int = Field(default=77, ge=4, description="Longest text in tokens, start and end included.")

    def load(self) -> Tokenizer:
        """The tokenizer itself."""
        return Tokenizer(self)


class Tokenizer:
    """Texts to token ids, padded with 0 to the longest text of the call.

    Texts are put into Unicode's NFKC form first: full-width letters and half-width kana read as plain ones.
    """

    def __init__(self, config: Tokenisation) -> None:
        self.config = config
        encode = open_clip.get_tokenizer(config.tokenizer) if config.tokenizer else open_clip.SimpleTokenizer()
        self._encode: Callable[..., torch.Tensor] = encode

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(B,) texts -> (B, L) int64, L at most ``context``; a longer text loses its end but keeps its end mark."""
        ids = self._encode([unicodedata.normalize("NFKC", t) for t in texts], context_length=self.config.context)
        longest = int((ids != 0).sum(dim=1).max()) if len(ids) else 1
        return ids[:, :longest]


def mask_names(text: str, names: Iterable[str], *, substitute: str = "this product") -> str:
    """``text`` with every one of ``names`` replaced, whatever its case, width or hyphens.

    A name inside its own explanation is a shortcut that destroys the bridge from explanation to picture.
    The original stays as it is for people.
    """
    masked = unicodedata.normalize("NFKC", text)
    for name in sorted({unicodedata.normalize("NFKC", n).strip() for n in names}, key=len, reverse=True):
        if name:
            masked = re.sub(_pattern(name), substitute, masked, flags=re.IGNORECASE)
    return masked


def _pattern(name: str) -> str:
    """``name`` with any hyphen or space between its parts; Latin names only where no letter or digit adjoins."""
    parts = [re.escape(p) for p in re.split(r"[\s\-‐-―_]+", name) if p]
    body = r"[\s\-‐-―_]*".join(parts)
    left = r"(?<![A-Za-z0-9])" if name[0].isascii() else ""
    right = r"(?![A-Za-z0-9])" if name[-1].isascii() else ""
    return left + body + right
