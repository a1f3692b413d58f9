"""The words on each entity's own pictures, and what words on a new picture say about its entity.

A carton that the table calls orange juice says APELSIN. The labels of an entity's training pictures are its vocabulary.
Words on another picture are compared with it by naive Bayes over character trigrams, so that a misread letter costs
little. An entity with little text is smoothed by its category, and a category by all: words that every sibling carries
distinguish nothing, rare ones do. Trigrams overlap and words repeat, so the log likelihood ratios are multiplied by a
factor: the one that makes the validation pictures likeliest by look and words (``evaluation.label_calibration``), or,
without enough of these, the training pictures by words alone, each one scored by the vocabulary without it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.errors import DataError
from entityclip.storage import atomic_path

ENTITY_PRIOR, CATEGORY_PRIOR = 30.0, 100.0
"""Trigrams of the category, and of all, that count for an entity and for a category as if they had been read."""

FACTORS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Candidates for the factor of the log likelihood ratios; 0 where words say nothing."""

FITTED = 300
"""Training pictures that the factor is fitted on, at most."""

MOST_RATIO = 9.0
"""Largest log likelihood ratio after the factor, in both directions: 8,000 to one."""

COLUMNS = ("entity_id", "category", "pair_id", "word")
_FACTOR = b"entityclip_factor"


def trigrams(words: Iterable[str]) -> Counter[str]:
    """Trigrams of words, with marks where a word begins and ends."""
    marked = (f"^{word}$" for word in words)
    return Counter(word[i : i + 3] for word in marked for i in range(len(word) - 2))


def limited(ratios: np.ndarray) -> np.ndarray:
    """(E,) log likelihood ratios within ``MOST_RATIO``; not clipped above, so that siblings keep their distance."""
    lowered = ratios - max(0.0, ratios.max(initial=0.0) - MOST_RATIO)
    return np.maximum(lowered, -MOST_RATIO)


@dataclass(frozen=True, eq=False)
class LabelVocabulary:
    """Which words were read on which entity's pictures."""

    words: pd.DataFrame
    """``COLUMNS``."""
    factor: float
    """Of the log likelihood ratios."""

    @classmethod
    def fit(cls, words: pd.DataFrame, *, seed: int = 0) -> LabelVocabulary:
        """The vocabulary with the factor that makes the training pictures likeliest, each scored without itself."""
        unfitted = cls(words, 1.0)
        return replace(unfitted, factor=unfitted._fitted_factor(seed))

    def save(self, path: Path) -> None:
        """Write the words, for people and programs, as one Parquet file; replaced atomically."""
        table = pa.Table.from_pandas(self.words, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _FACTOR: str(self.factor).encode()})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: Path) -> LabelVocabulary:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            table = pq.read_table(path, columns=list(COLUMNS))
            return cls(table.to_pandas(), float(table.schema.metadata[_FACTOR]))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not a vocabulary of labels ({error}); package the release again") from error

    # ------------------------------------------------------------ counts
    @cached_property
    def entities(self) -> pd.Index:
        """(E,) ids of the entities with words."""
        return pd.Index(sorted(set(self.words["entity_id"])), dtype="str")

    @cached_property
    def _categories(self) -> np.ndarray:
        """(E,) number of each entity's category."""
        first = self.words.groupby("entity_id")["category"].first().reindex(self.entities)
        return np.unique(first.to_numpy(str), return_inverse=True)[1]

    @cached_property
    def _counts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Trigram -> the rows of the entities on whose pictures it was read, and how often."""
        numbers = self.entities.get_indexer(pd.Index(self.words["entity_id"]))
        found: dict[str, Counter[int]] = defaultdict(Counter)
        for row, word in zip(numbers.tolist(), self.words["word"], strict=True):
            for gram, count in trigrams([word]).items():
                found[gram][row] += count
        return {gram: (np.array(list(rows)), np.array(list(rows.values()), float)) for gram, rows in found.items()}

    @cached_property
    def _totals(self) -> np.ndarray:
        """(E,) trigrams on each entity's pictures."""
        totals = np.zeros(len(self.entities))
        for rows, counts in self._counts.values():
            totals[rows] += counts
        return totals

    # ------------------------------------------------------------ likelihood
    def ratios(self, words: Iterable[str]) -> np.ndarray:
        """(E,) log likelihood ratio of words on a picture for each of ``entities``, against any entity."""
        return limited(self.factor * self.sums(words))

    def words_of(self, entity_id: str, *, most: int) -> list[str]:
        """The words on the entity's own pictures, the ones that distinguish it best first."""
        row = self.entities.get_indexer(pd.Index([entity_id], dtype="str"))[0]
        if row < 0:
            return []
        own = self.words.loc[self.words["entity_id"] == entity_id, "word"].value_counts(sort=False)
        weighed = {str(word): float(self.sums([str(word)])[row]) * int(count) for word, count in own.items()}
        return sorted(weighed, key=lambda word: (-weighed[word], word))[:most]

    def telling(self, words: Sequence[str], entity_ids: Sequence[str]) -> list[str]:
        """For each entity the word that speaks most for it; '' where none speaks for it, or it has no words."""
        rows = self.entities.get_indexer(pd.Index(list(entity_ids), dtype="str"))
        by_word = np.array([self.sums([word])[rows] for word in words]).reshape(len(words), len(rows))
        best = by_word.argmax(axis=0) if len(words) else np.zeros(len(rows), int)
        return [
            words[word] if row >= 0 and len(words) and by_word[word, i] > 0 else ""
            for i, (row, word) in enumerate(zip(rows.tolist(), best.tolist(), strict=True))
        ]

    def sums(self, words: Iterable[str], *, without: tuple[int, Counter[str]] | None = None) -> np.ndarray:
        """(E,) ratios without the factor and without a limit.

        Args:
            words: Words of a picture's labels.
            without: The entity's row and the picture's trigrams, where the picture is one that was counted; it is left
                out of the counts.
        """
        ratios, totals = np.zeros(len(self.entities)), self._totals.copy()
        if without is not None:
            totals[without[0]] -= without[1].total()
        groups = np.bincount(self._categories, totals) if len(totals) else totals
        for gram, times in trigrams(set(words)).items():
            if gram not in self._counts:
                continue
            rows, counts = self._counts[gram]
            if without is not None:
                counts = counts - np.where(rows == without[0], without[1][gram], 0)
            everywhere = (counts.sum() + 1) / (totals.sum() + len(self._counts))
            category = np.bincount(self._categories[rows], counts, minlength=len(groups)) + CATEGORY_PRIOR * everywhere
            seen = ENTITY_PRIOR * (category / (groups + CATEGORY_PRIOR))[self._categories]
            seen[rows] += counts
            ratios += times * np.log(seen / (totals + ENTITY_PRIOR) / everywhere)
        return ratios

    def _fitted_factor(self, seed: int) -> float:
        """The one of ``FACTORS`` with the highest likelihood of the right entity among all with words."""
        pictures = self.words.groupby("pair_id").agg({"entity_id": "first", "word": list})
        if len(self.entities) < 2:
            return 0.0
        pictures = pictures.sample(min(FITTED, len(pictures)), random_state=seed)
        scores = np.zeros(len(FACTORS))
        for own, words in zip(
            self.entities.get_indexer(pd.Index(pictures["entity_id"])), pictures["word"], strict=True
        ):
            scaled = np.outer(FACTORS, self.sums(words, without=(int(own), trigrams(words))))
            scores += scaled[:, own] - np.logaddexp.reduce(scaled, axis=1)
        return FACTORS[int(scores.argmax())]
