"""Linear probes: what vectors of pictures alone say about a value, learned from the texts of other entities.

A model that compares whole texts with pictures reads a word like "checks" or "diamond label" only as far as it moves
the vector of a text. A probe reads the vectors of pictures directly: for each value, a ridge regression on whether the
texts of the entity state it (Alain and Bengio, 2017). Its score is a second fit beside that of the exchanged text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.quality.claims.exchange import ExchangedClaim, StatedClaim, Values
from entityclip.quality.language import primary_language
from entityclip.quality.model_scores import EntityPictures
from entityclip.schemas import Record

FOLDS = 5
COMPONENTS, PICTURES_PER_COMPONENT = 256, 4
"""Principal components that a probe reads, at most; and pictures for each of them, at least."""
_RIDGE = 1.0
"""Penalty for each picture; the components have variance 1."""
_DIGITS = 4
"""Significant digits of stored weights."""

ProbeScores = Mapping[tuple[str, str], pd.DataFrame]
"""Language and attribute -> the score of each value (columns) for each entity (rows)."""


class AttributeProbe(Record):
    """The probes of one attribute in one language."""

    language: str
    attribute: str
    values: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...] = Field(description="(V, D + 108): of vector, then colours.")
    intercepts: tuple[float, ...] = Field(description="(V,) of each value.")

    def scores(self, pictures: EntityPictures) -> pd.DataFrame:
        """Mean score over the pictures of each entity."""
        found = _features(pictures) @ np.array(self.weights, dtype=np.float32).T + np.array(self.intercepts)
        return pd.DataFrame(found, columns=list(self.values)).groupby(np.array(pictures.owners)).mean()


def fit_probes(
    pictures: EntityPictures, claims: Sequence[StatedClaim], explanations: pd.DataFrame, values: Values
) -> tuple[AttributeProbe, ...]:
    """A probe for each of these values.

    Args:
        pictures: P pictures to learn from.
        claims: Of the texts.
        explanations: N rows with entity_id and language.
        values: The values of each attribute.
    """
    owners, features = np.array(pictures.owners), _features(pictures)
    spoken = explanations["language"].fillna("").map(primary_language)
    by_language = {str(name): set(part) for name, part in explanations["entity_id"].groupby(spoken)}
    states: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    ids = explanations["entity_id"].tolist()
    for one in claims:
        states[*one.key, one.claim.value].add(ids[one.position])
    probes = []
    for language, found in by_language.items():
        rows = np.isin(owners, list(found))
        if rows.sum() < 2:
            continue
        regression = _Ridge(features[rows], pictures.vectors.shape[1])
        for (spoken_in, attribute), some in values.items():
            if spoken_in == language and some:
                stated = [np.isin(owners[rows], list(states[language, attribute, value])) for value in some]
                weights, intercepts = regression.fitted(np.stack(stated, axis=1).astype(np.float64))
                probes.append(
                    AttributeProbe(
                        language=language,
                        attribute=attribute,
                        values=some,
                        weights=tuple(map(_rounded, weights.T)),
                        intercepts=_rounded(intercepts),
                    )
                )
    return tuple(probes)


def _features(pictures: EntityPictures) -> np.ndarray:
    """(P, D + C) vectors and colours."""
    return pictures.vectors if pictures.colours is None else np.hstack([pictures.vectors, pictures.colours])


class _Ridge:
    """Ridge regression of any targets on the same features (P, D + C), in their principal components.

    Args:
        features: Vectors, then colours; each of the two has the same part in the total variance.
        width: D.
    """

    def __init__(self, features: np.ndarray, width: int) -> None:
        self._mean = features.mean(axis=0, dtype=np.float64)
        centred = features - self._mean
        blocks = (slice(0, width), slice(width, None))
        parts = [np.full(centred[:, block].shape[1], np.sqrt(centred[:, block].var(axis=0).sum())) for block in blocks]
        self._scale = np.concatenate(parts).clip(min=1e-9)
        self._centred = centred / self._scale
        variance, axes = np.linalg.eigh(self._centred.T @ self._centred / len(features))
        most = min(COMPONENTS, len(features) // PICTURES_PER_COMPONENT)
        kept = (variance > 1e-12 * max(variance[-1], 1e-12)) & (np.arange(len(variance)) >= len(variance) - most)
        # With components of variance 1, the penalty divides each weight by the same number.
        self._axes = axes[:, kept] / np.sqrt(variance[kept])

    def fitted(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, V) targets -> weights (D + C, V) and intercepts (V,)."""
        mean = targets.mean(axis=0)
        slopes = self._axes.T @ (self._centred.T @ (targets - mean)) / (len(targets) * (1 + _RIDGE))
        weights = self._axes @ slopes / self._scale[:, None]
        return weights, mean - self._mean @ weights


def scores_of(probes: Sequence[AttributeProbe], pictures: EntityPictures) -> ProbeScores:
    """The scores of entities for their pictures."""
    return {(one.language, one.attribute): one.scores(pictures) for one in probes}


def cross_fitted_scores(
    learned: EntityPictures,
    pictures: EntityPictures,
    claims: Sequence[StatedClaim],
    explanations: pd.DataFrame,
    values: Values,
) -> ProbeScores:
    """The scores of entities by probes that were fitted on the other four fifths of the entities.

    Args:
        learned: Pictures to learn from.
        pictures: Pictures that are scored.
        claims: See ``fit_probes``; ``explanations`` and ``values`` likewise.
        explanations: See there.
        values: See there.
    """
    parts: dict[tuple[str, str], list[pd.DataFrame]] = defaultdict(list)
    for fold in range(FOLDS):
        probes = fit_probes(_part(learned, fold, inside=False), claims, explanations, values)
        for key, scores in scores_of(probes, _part(pictures, fold, inside=True)).items():
            parts[key].append(scores)
    return {key: pd.concat(some) for key, some in parts.items()}


def _part(pictures: EntityPictures, fold: int, *, inside: bool) -> EntityPictures:
    """Pictures of the entities of one fold, or of all others."""
    numbers = {owner: int(digest("fold", owner)[:8], 16) % FOLDS for owner in set(pictures.owners)}
    return pictures_of(pictures, {owner for owner, number in numbers.items() if (number == fold) == inside})


def pictures_of(pictures: EntityPictures, wanted: set[str]) -> EntityPictures:
    """Those of these entities."""
    rows = np.array([owner in wanted for owner in pictures.owners], dtype=bool)
    owners = [owner for owner in pictures.owners if owner in wanted]
    colours = None if pictures.colours is None else pictures.colours[rows]
    return EntityPictures(owners, pictures.vectors[rows], colours)


def with_scores(
    claims: Sequence[ExchangedClaim], explanations: pd.DataFrame, scores: ProbeScores
) -> list[ExchangedClaim]:
    """Exchanged claims with the score of each value as a further fit; 0 where there is none.

    Args:
        claims: Of the texts.
        explanations: N rows with entity_id.
        scores: Of their entities.
    """
    ids = explanations["entity_id"].tolist()
    known = {key: table.to_dict("index") for key, table in scores.items()}
    found = []
    for one in claims:
        row = known.get(one.stated.key, {}).get(str(ids[one.stated.position]), {})
        score = np.array([[row.get(value, 0.0)] for value in one.values[: len(one.fit)]]).reshape(len(one.fit), 1)
        found.append(one._replace(fit=np.hstack([one.fit, score])))
    return found


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """The same with fewer digits."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
