"""The words of many texts as integer codes, so that a property of a word is computed once per word."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

WORD = re.compile(r"[ぁ-ゖァ-ヺー㐀-鿿]|[^\W_ぁ-ゖァ-ヺー㐀-鿿]+")
"""A word; or one Japanese character, since no space marks the end of a Japanese word."""

ODD = np.uint64(0x9E3779B97F4A7C15)
"""Mixes 64-bit hashes: an odd number whose bits look random."""


class HashedWords(NamedTuple):
    """The words of N texts, hashed."""

    hashes: np.ndarray
    """Unsigned; the words of all texts, concatenated."""
    ends: np.ndarray
    """(N + 1,) int64: text i has the words from ``ends[i]`` to ``ends[i + 1]``."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The words of all parts, in order."""
        starts = np.cumsum([0, *(part.ends[-1] for part in parts)])
        ends = [part.ends[1:] + start for part, start in zip(parts, starts, strict=False)]
        zero = np.zeros(1, dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.uint32), *(p.hashes for p in parts)]), np.concatenate([zero, *ends]))

    def of(self, texts: np.ndarray) -> HashedWords:
        """The words of some texts, (T,) int64, in that order."""
        starts, lengths = self.ends[texts], self.ends[texts + 1] - self.ends[texts]
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return HashedWords(self.hashes[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], lengths)], ends)

    def owner(self) -> np.ndarray:
        """The text of each word, int64."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))

    def runs_of_three(self) -> HashedWords:
        """The runs of three words as hashes, uint64; a text of fewer words has none."""
        flat, owner = self.hashes.astype(np.uint64), self.owner()
        within = owner[2:] == owner[:-2]
        runs = ((flat[:-2] * ODD + flat[1:-1]) * ODD + flat[2:])[within]
        lengths = np.maximum(np.diff(self.ends) - 2, 0)
        return HashedWords(runs, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def distinct(self) -> np.ndarray:
        """(N,) number of different words of each text."""
        owner = self.owner()
        again = pd.Series(self.hashes ^ (owner.astype(np.uint64) * ODD)).duplicated().to_numpy()
        return np.bincount(owner[~again], minlength=len(self.ends) - 1)


class TokenizedTexts(NamedTuple):
    """The words of N texts as positions in a vocabulary."""

    vocabulary: list[str]
    codes: np.ndarray
    """int32; the words of all texts, concatenated."""
    ends: np.ndarray
    """(N + 1,) int64: text i has the codes from ``ends[i]`` to ``ends[i + 1]``."""

    @classmethod
    def of(cls, texts: pa.Array) -> Self:
        """The casefolded ``WORD``s of (N,) texts."""
        strange = pc.invert(pc.string_is_ascii(texts))
        plain = pc.replace_substring_regex(pc.ascii_lower(texts), "[^a-z0-9]+", " ")
        others = (" ".join(WORD.findall(text.casefold())) for text in pc.filter(texts, strange).to_pylist())
        spaced = pc.replace_with_mask(plain, strange, pa.array(others, texts.type))
        split = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(spaced))
        real = pc.not_equal(split.values, "")  # a text without words yields one empty word
        flat = pc.filter(split.values, real).dictionary_encode()
        ends = np.concatenate([[0], np.cumsum(np.asarray(real))]).astype(np.int64)[split.offsets.to_numpy()]
        return cls(flat.dictionary.to_pylist(), flat.indices.to_numpy(), ends)

    def words(self, row: int) -> list[str]:
        """The words of one text, in order."""
        return [self.vocabulary[code] for code in self.codes[self.ends[row] : self.ends[row + 1]]]

    def counts(self, wanted: Callable[[str], bool]) -> np.ndarray:
        """(N,) number of words of each text that are ``wanted``."""
        chosen = np.fromiter(map(wanted, self.vocabulary), bool, count=len(self.vocabulary))
        sums = np.concatenate([[0], np.cumsum(chosen[self.codes])])
        return sums[self.ends[1:]] - sums[self.ends[:-1]]

    def neighbours(self, first: Callable[[str], bool], both: Callable[[str, str], bool]) -> np.ndarray:
        """(N,) bool: whether two words follow each other of which ``first`` holds for the first, and ``both``."""
        owner = np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))
        chosen = np.fromiter(map(first, self.vocabulary), bool, count=len(self.vocabulary))
        at = np.flatnonzero(chosen[self.codes[:-1]] & (owner[1:] == owner[:-1]))
        pairs, place = np.unique((self.codes[at].astype(np.int64) << 32) + self.codes[at + 1], return_inverse=True)
        words = self.vocabulary
        hit = np.fromiter((both(words[pair >> 32], words[pair & 0xFFFFFFFF]) for pair in pairs), bool, len(pairs))
        return np.bincount(owner[at[hit[place]]], minlength=len(self.ends) - 1) > 0

    def without(self, group: np.ndarray, unwanted: Sequence[set[str]]) -> HashedWords:
        """The hashed words without those that are ``unwanted`` (G,) in their text's ``group`` (N,)."""
        place = {word: code for code, word in enumerate(self.vocabulary)}
        pairs = [(one << 32) + place[word] for one, some in enumerate(unwanted) for word in some if word in place]
        owner = np.repeat(group.astype(np.int64), np.diff(self.ends))
        kept = ~pd.Series((owner << 32) + self.codes).isin(pairs).to_numpy()
        hashes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in self.vocabulary], np.uint32)
        sums = np.concatenate([[0], np.cumsum(kept)])
        return HashedWords(hashes[self.codes[kept]], sums[self.ends].astype(np.int64))
