"""The packaged model: load once, then search, tag, match and embed. All arithmetic of the service stands here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from PIL import Image

from entityclip import checkpoint
from entityclip.calibrate import PRECISION, PRECISIONS, TAGS
from entityclip.checkpoint import LoadedModel
from entityclip.errors import ConfigError
from entityclip.index import EntityIndex, PictureIndex
from entityclip.layout import PackageLayout
from entityclip.records import Hit, IndexKind, ModelFacts, Tag
from entityclip.rerank import rerank as reranked
from entityclip.vectors import best, shares, unit

Target = Literal["pictures", "entities"]
"""What a search gives."""

MOST_RERANKED = 100
"""Entities that are judged again at most: each takes two texts through the text tower."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with the indexes that it built. Nothing in it changes, so that threads may share it."""

    model: LoadedModel
    entities: EntityIndex
    pictures: PictureIndex | None

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Predictor:
        """Read a package: ``model.safetensors``, ``card.json``, ``index/entities/``, perhaps ``index/pictures/``.

        Raises:
            CheckpointError: Weights or card are missing or do not fit each other.
            DataError: The entity index is missing, or an index is half-written or damaged.
            IndexMismatch: An index was built by another model.
        """
        package = PackageLayout(folder)
        model = checkpoint.load(package.checkpoint, device=device)
        fingerprint = model.card.fingerprint
        entities = EntityIndex.load(package.entities, fingerprint=fingerprint)
        has_pictures = package.pictures.root.exists()
        pictures = PictureIndex.load(package.pictures, fingerprint=fingerprint) if has_pictures else None
        return cls(model, entities, pictures)

    # ------------------------------------------------------------ questions
    def search(
        self,
        text: str | None = None,
        image: Image.Image | None = None,
        *,
        k: int = 10,
        index: IndexKind = "mixed",
        of: Target = "pictures",
        rerank: int = 0,
    ) -> list[Hit]:
        """The ``k`` pictures, or entities, most similar to a text, a picture, or both together.

        A text that is the very name or code of an entity stands for that entity: it is asked as its vector in
        ``index``, and hits of that entity come before all others.

        Args:
            text: What is looked for.
            image: A picture of what is looked for.
            k: Hits wanted; there are fewer when the index holds fewer.
            index: Which of the three entity vectors is used.
            of: What the hits are.
            rerank: So many of the first entities are judged once more by the matching head, which needs a picture.

        Raises:
            ConfigError: Neither text nor picture is given, ``k``, ``index``, ``of`` or ``rerank`` is impossible, the
                package has no picture index, or re-ranking is asked for without a picture or of pictures.
        """
        _require(k, index=index, of=of, rerank=rerank)
        if rerank:
            return self._reranked_search(text, image, k=k, index=index, of=of, rerank=rerank)
        query = self._query(text, image, index)
        named = self.entities.rows["entity_id"].iloc[self.entities.named(text or "")]
        if of == "entities":
            return _hits(query, self.entities.vectors[index], self.entities.rows[["entity_id", "entity"]], named, k=k)
        if self.pictures is None:
            raise ConfigError("this package has no picture index; ask for entities, or build it with one")
        columns = ["entity_id", "entity", "pair_id", "caption", "path"]
        return _hits(query, self.pictures.vectors, self.pictures.rows[columns], named, k=k)

    def tag(
        self,
        image: Image.Image,
        *,
        k: int = TAGS,
        index: IndexKind = "mixed",
        precision: float = PRECISION,
        rerank: int = 0,
    ) -> list[Tag]:
        """The ``k`` entities that a picture most likely shows, best first.

        ``above_threshold`` says that tags with such a confidence were right with at least this ``precision`` on the
        validation pictures, in the mixed index. Where they could not prove that of any, no tag is above.
        The first ``rerank`` tags are put into order by the matching head as well, as far as the card gives it weight;
        their confidences stay.

        Raises:
            ConfigError: ``k``, ``index`` or ``rerank`` is impossible, or ``precision`` was not calibrated.
        """
        _require(k, index=index, rerank=rerank)
        least = self._least_confidence(precision) if index == "mixed" else np.inf
        similarities = self.entities.vectors[index] @ self.model.embed_images([image])[0]
        confidences = shares(similarities, scale=self.model.scale)
        return [
            Tag(**tag, confidence=confidences[row], above_threshold=confidences[row] >= least)
            for row, tag in self._found(similarities, image, k=k, rerank=rerank)
        ]

    def _least_confidence(self, precision: float) -> float:
        thresholds = self.model.card.thresholds
        if str(precision) not in (calibrated := {*map(str, PRECISIONS), *thresholds}):
            known = ", ".join(sorted(calibrated))
            raise ConfigError(f"precision {precision} was not calibrated; expected one of {known}")
        return thresholds.get(str(precision), np.inf)

    def match(self, image: Image.Image, text: str) -> float:
        """Similarity of a picture and a text; an entity's name stands for the entity, and gives the score of its tag.

        Raises:
            ConfigError: The text is empty.
        """
        return float(self.model.embed_images([image])[0] @ self._asked_text(text, "mixed"))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts -> (N, D) float32 unit rows: the texts as they are, names too."""
        return self.model.embed_texts(texts)

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """N pictures -> (N, D) float32 unit rows."""
        return self.model.embed_images(images)

    def about(self) -> ModelFacts:
        """What was loaded."""
        card = self.model.card
        return ModelFacts(
            fingerprint=card.fingerprint,
            data_hash=card.data_hash,
            dimension=self.model.dim,
            entities=len(self.entities.rows),
            pictures=0 if self.pictures is None else len(self.pictures.rows),
            mix=self.entities.mix,
            thresholds=card.thresholds,
            rerank=card.rerank,
        )

    # ------------------------------------------------------------ answers
    def _found(
        self, similarities: np.ndarray, image: Image.Image, *, k: int, rerank: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Row and fields of the ``k`` best entities; the first ``rerank`` of all were judged once more."""
        rows = best(similarities, k=max(k, rerank))
        match: dict[int, float] = {}
        if rerank:
            again = rows[:rerank]
            judged = reranked(self.model, self.entities, image, rows=again, similarities=similarities[again])
            match = dict(zip(again.tolist(), judged.match.tolist(), strict=True))
            rows = np.concatenate([again[judged.order], rows[rerank:]])
        found = self.entities.rows[["entity_id", "entity"]].iloc[rows[:k]].assign(score=similarities[rows[:k]])
        for row, fields in zip(rows[:k].tolist(), _records(found), strict=True):
            yield row, fields | {"match": match.get(row)}

    def _reranked_search(
        self, text: str | None, image: Image.Image | None, *, k: int, index: IndexKind, of: str, rerank: int
    ) -> list[Hit]:
        if text is not None or image is None or of != "entities":
            raise ConfigError(
                "re-ranking judges a picture against entities: ask with a picture alone, and for entities "
                "(an index of pictures keeps one vector of each, too little to judge them again)"
            )
        similarities = self.entities.vectors[index] @ self._query(None, image, index)
        return [Hit(**hit, exact=False) for _, hit in self._found(similarities, image, k=k, rerank=rerank)]

    def _query(self, text: str | None, image: Image.Image | None, index: IndexKind) -> np.ndarray:
        """(D,) unit vector: the text's, the picture's, or halfway between them."""
        parts = [] if image is None else [self.model.embed_images([image])[0]]
        if text is not None:
            parts.append(self._asked_text(text, index))
        if not parts:
            raise ConfigError("neither a text nor a picture; expected one of them, or both")
        return unit(unit(np.stack(parts)).mean(axis=0, keepdims=True))[0]

    def _asked_text(self, text: str, index: IndexKind) -> np.ndarray:
        """(D,) the vector of the entity with this name, or that of the text itself."""
        if not text.strip():
            raise ConfigError("the text is empty; expected what to look for")
        named = self.entities.named(text)
        return self.entities.vectors[index][named].mean(axis=0) if named else self.embed_texts([text])[0]


def _hits(query: np.ndarray, vectors: np.ndarray, rows: pd.DataFrame, named: pd.Series, *, k: int) -> list[Hit]:
    scores, exact = vectors @ query, rows["entity_id"].isin(named).to_numpy()
    # Similarities are at most 2 apart: whatever is named comes first, in its own order.
    chosen = best(scores + 4 * exact.astype(np.float32), k=k)
    found = rows.iloc[chosen].assign(score=scores[chosen], exact=exact[chosen])
    return [Hit(**hit) for hit in _records(found)]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _require(k: int, *, index: str, of: str = "pictures", rerank: int = 0) -> None:
    if k < 1:
        raise ConfigError(f"k is {k}; expected at least 1")
    if not 0 <= rerank <= MOST_RERANKED:
        raise ConfigError(f"rerank is {rerank}; expected 0 to {MOST_RERANKED}")
    for name, value, known in (("index", index, get_args(IndexKind)), ("of", of, get_args(Target))):
        if value not in known:
            raise ConfigError(f"{name} {value!r} is unknown; expected one of {', '.join(known)}")
