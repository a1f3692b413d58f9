"""The one way a text gets to the tower, and the masking of names in the text that trains the bridge."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import open_clip
import torch
from pydantic import Field

from entityclip.records import Record

_LATIN, _KATAKANA = "[A-Za-z0-9]", "[ァ-ヺー]"
_PARTS = re.compile(r"[ァ-ヺー]+|[^\W\d_]+?(?=[ァ-ヺー\d_\W]|$)|\d+")
_BETWEEN = r"[\s\-‐-―−・._/]*"


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
        longest = int(ids.argmax(dim=1).max()) + 1 if len(ids) else 1  # 0 is padding, but "!" inside a text as well
        return ids[:, :longest]


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
