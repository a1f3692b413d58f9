"""The words of many texts as numbers, so that what depends on a word alone is looked up once for each word."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

ODD = np.uint64(0x9E3779B97F4A7C15)
"""Mixes 64-bit hashes: an odd number whose bits look random."""


class Words(NamedTuple):
    """The words of N texts, hashed."""

    hashes: np.ndarray
    """Unsigned, those of all texts one after the other."""
    ends: np.ndarray
    """(N + 1,) int64: text i has the words from ``ends[i]`` to ``ends[i + 1]``."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of all parts, in order."""
        starts = np.cumsum([0, *(part.ends[-1] for part in parts)])
        ends = [part.ends[1:] + start for part, start in zip(parts, starts, strict=False)]
        zero = np.zeros(1, dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.uint32), *(p.hashes for p in parts)]), np.concatenate([zero, *ends]))

    def owner(self) -> np.ndarray:
        """The text of each word, int64."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))

    def runs_of_three(self) -> Words:
        """The runs of three words as hashes, uint64; a text of fewer words has none."""
        flat, owner = self.hashes.astype(np.uint64), self.owner()
        within = owner[2:] == owner[:-2]
        runs = ((flat[:-2] * ODD + flat[1:-1]) * ODD + flat[2:])[within]
        lengths = np.maximum(np.diff(self.ends) - 2, 0)
        return Words(runs, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def distinct(self) -> np.ndarray:
        """(N,) number of different words of each text."""
        owner = self.owner()
        first = np.unique(self.hashes ^ (owner.astype(np.uint64) * ODD), return_index=True)[1]
        return np.bincount(owner[first], minlength=len(self.ends) - 1)


class Tokens(NamedTuple):
    """The words of N texts by their places in a vocabulary."""

    vocabulary: list[str]
    codes: np.ndarray
    """int32, those of all texts one after the other."""
    ends: np.ndarray
    """(N + 1,) int64: text i has the codes from ``ends[i]`` to ``ends[i + 1]``."""

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> Self:
        """Number the words of lists of words."""
        flat = pa.array(chain.from_iterable(texts), pa.string()).dictionary_encode()
        ends = np.concatenate([[0], np.cumsum([len(words) for words in texts])]).astype(np.int64)
        return cls(flat.dictionary.to_pylist(), flat.indices.to_numpy(), ends)

    def counts(self, wanted: Callable[[str], bool]) -> np.ndarray:
        """(N,) number of words of each text that are ``wanted``."""
        chosen = np.fromiter(map(wanted, self.vocabulary), bool, count=len(self.vocabulary))
        sums = np.concatenate([[0], np.cumsum(chosen[self.codes])])
        return sums[self.ends[1:]] - sums[self.ends[:-1]]

    def without(self, unwanted: Sequence[set[str]]) -> Words:
        """The words, hashed, less those that are ``unwanted`` (N,) in their text."""
        place = {word: code for code, word in enumerate(self.vocabulary)}
        pairs = [(row << 32) + place[word] for row, some in enumerate(unwanted) for word in some if word in place]
        owner = np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))
        kept = ~np.isin((owner << 32) + self.codes, np.array(pairs, np.int64))
        hashes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in self.vocabulary], np.uint32)
        sums = np.concatenate([[0], np.cumsum(kept)])
        return Words(hashes[self.codes[kept]], sums[self.ends].astype(np.int64))
