"""The entity index: the vectors of entities by name, by explanation, by their pictures and by all of these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import get_args

import numpy as np
import pandas as pd
from pydantic import ValidationError

from entityclip.data import pairs
from entityclip.data.text import mask_names
from entityclip.errors import ConfigError, DataError
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout, IndexLayout
from entityclip.retrieval.index.embedding import embedded_texts, finite
from entityclip.retrieval.index.filters import Facets
from entityclip.retrieval.index.mixture import KINDS, completed, offsets_of, weights_of
from entityclip.retrieval.index.pictures import PictureIndex
from entityclip.retrieval.vectors import load_index, save_index, unit
from entityclip.schemas import SLICES, IndexKind, Mixture, MixtureGroup

NO_PICTURES = -1.0
"""Stands for the similarity in the images index of an entity that has no pictures."""


def slice_of(train_pictures: int) -> str:
    """The slice of an entity with so many training pictures: one of ``records.SLICES``."""
    frequent, few, one, none = SLICES
    return frequent if train_pictures >= 10 else few if train_pictures >= 2 else one if train_pictures else none


ENTITY_COLUMNS = (
    "entity_id",
    "entity",
    "aliases",
    "category",
    "language",
    "tags",
    "date",
    "train_pictures",
    "slice",
    "pictures",
    "explanation",
    "has_explanation",
)


@dataclass(frozen=True, eq=False)
class EntityIndex:
    """The entities of one data version as one model sees them. All of them are candidates, photographed or not."""

    fingerprint: str
    """Of the model."""
    rows: pd.DataFrame
    """``ENTITY_COLUMNS``; pictures is how many ``images`` is the mean of; explanation is the first one as
    it was written, '' where there is none."""
    vectors: dict[IndexKind, np.ndarray]
    """(M, D) each: ``caption`` from the name; ``explanation`` the mean over the entity's explanations with its names
    masked (unless the model was trained without), or the caption's vector where it has none; ``images`` the mean of
    its pictures' vectors, zero where it has none; unit rows all three. ``mixed`` is their sum weighted by ``mixture``:
    its product with a picture is the weighted mean of the three similarities. With unit length, mixed vectors would
    come nearer to every picture, and entities that were never photographed would lose to all others."""
    mixture: dict[MixtureGroup, Mixture]
    """Group of entities -> its weights in ``mixed``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what the model's fingerprint is made of."""

    @classmethod
    def build(
        cls,
        model: LoadedModel,
        data: DataLayout,
        *,
        pictures: PictureIndex | None = None,
        among: Collection[str] | None = None,
        progress: bool = False,
    ) -> EntityIndex:
        """Embed the entities of ``data``; the mixture is that of the model's card.

        Args:
            model: What sees them.
            data: The data version.
            pictures: The pictures that stand for their entities: those of the training split for an evaluation, all of
                them for a service; None for none.
            among: entity_id of those to embed; None for all.
            progress: Show bars.

        Raises:
            DataError: There are no entities, or an explanation is about an unknown one.
            CheckpointError: The model gives vectors that are not finite.
        """
        rows = _entity_rows(data, among)
        caption = finite(embedded_texts(model, list(rows["entity"]), what="embedding names", progress=progress), model)
        texts = _explanations(data, rows, some=among is not None)
        read = as_read(model, texts, names=names_of(rows.iloc[texts.index]))
        embedded = embedded_texts(model, read, what="embedding explanations", progress=progress)
        explanation = mean_by_owner(embedded, texts.index.to_numpy(), owners=len(rows))
        rows["explanation"] = texts.groupby(level=0).first().reindex(rows.index, fill_value="")
        rows["has_explanation"] = rows.index.isin(texts.index)
        explanation[~rows["has_explanation"]] = caption[~rows["has_explanation"]]
        vectors: dict[IndexKind, np.ndarray] = {"caption": caption, "explanation": finite(explanation, model)}
        index = cls(model.card.fingerprint, rows, vectors, dict(model.card.mixture), model.card.parts)
        return index.with_pictures(pictures)

    def with_pictures(self, pictures: PictureIndex | None) -> EntityIndex:
        """The same index with these pictures, and no others, standing for their entities.

        Pictures of other entities are ignored.
        """
        owner = (
            np.zeros(0, np.int64) if pictures is None else self.by_id.get_indexer(pd.Index(pictures.rows["entity_id"]))
        )
        seen = np.zeros((0, self.dim), np.float32) if pictures is None else pictures.vectors[owner >= 0]
        owner = owner[owner >= 0]
        images = mean_by_owner(seen, owner, owners=len(self.rows))
        rows = self.rows.assign(pictures=np.bincount(owner, minlength=len(self.rows)))
        return replace(self, rows=rows, vectors=self.vectors | {"images": images}).remixed(self.mixture)

    def remixed(self, mixture: Mapping[MixtureGroup, Mixture]) -> EntityIndex:
        """The same index with another mixture; groups that it leaves out get their default.

        Raises:
            ConfigError: An unknown group.
        """
        whole = completed(mixture)
        weights = weights_of(self.rows, whole)
        mixed = np.zeros_like(self.vectors["caption"])
        for i, kind in enumerate(KINDS):
            mixed += weights[:, i, None] * self.vectors[kind]
        return replace(self, vectors=self.vectors | {"mixed": mixed}, mixture=whole)

    @property
    def dim(self) -> int:
        """Width of the joint space."""
        return int(self.vectors["caption"].shape[1])

    @cached_property
    def offsets(self) -> dict[IndexKind, np.ndarray]:
        """(M,) float32 each: what is added to the similarity of each entity's vector with a picture."""
        none = np.zeros(len(self.rows), np.float32)
        images = np.where(self.pictured, none, np.float32(NO_PICTURES))
        return {"caption": none, "explanation": none, "images": images, "mixed": offsets_of(self.rows, self.mixture)}

    @cached_property
    def pictured(self) -> np.ndarray:
        """(M,) bool: whether the entity has pictures in this index."""
        return (self.rows["pictures"] > 0).to_numpy()

    def similarities(self, pictures: np.ndarray, kind: IndexKind) -> np.ndarray:
        """(D,) or (Q, D) unit vectors of pictures -> (M,) or (Q, M), about -1 to 1; offsets are in them."""
        return pictures @ self.vectors[kind].T + self.offsets[kind]

    def text_similarities(self, text: np.ndarray, kind: IndexKind) -> np.ndarray:
        """(D,) unit vector of a text -> (M,).

        Texts lie nearer to texts than to pictures, and weights and offsets are calibrated on pictures: the mixed index
        compares a text with the mean of caption and explanation alone, the same for all entities.
        """
        if kind != "mixed":
            return self.vectors[kind] @ text
        return (self.vectors["caption"] @ text + self.vectors["explanation"] @ text) / 2

    def rows_of(self, entity_ids: Iterable[str]) -> np.ndarray:
        """(N,) row of each id.

        Raises:
            DataError: An id is not among the entities.
        """
        return _rows_of(self.rows, entity_ids)

    @cached_property
    def by_id(self) -> pd.Index:
        """The rows' ids, for look-ups."""
        return pd.Index(self.rows["entity_id"])

    def row_of(self, entity_id: str) -> int | None:
        """The row of an id; None where there is none."""
        row = int(self.by_id.get_indexer(pd.Index([entity_id]))[0])
        return row if row >= 0 else None

    @cached_property
    def facets(self) -> Facets:
        """What the entities can be filtered by."""
        return Facets(self.rows)

    def named(self, text: str) -> list[int]:
        """Rows of the entities whose name or alias ``text`` is, but for case, width and outer space."""
        return self._names.get(pairs.normalised(text), [])

    @cached_property
    def _names(self) -> dict[str, list[int]]:
        names: dict[str, list[int]] = {}
        for row, (entity, aliases) in enumerate(zip(self.rows["entity"], self.rows["aliases"], strict=True)):
            for name in sorted({pairs.normalised(n) for n in (entity, *aliases)} - {""}):
                names.setdefault(name, []).append(row)
        return names

    def save(self, layout: IndexLayout) -> None:
        """Write the index; an older one in its place is replaced."""
        mixture = {group: found.model_dump() for group, found in self.mixture.items()}
        card = {"fingerprint": self.fingerprint, "parts": dict(self.parts), "mixture": mixture}
        save_index(layout, card=card, vectors={str(kind): v for kind, v in self.vectors.items()}, rows=self.rows)

    @classmethod
    def load(cls, layout: IndexLayout, *, fingerprint: str, parts: Mapping[str, str] | None = None) -> EntityIndex:
        """Read the index for the model with this fingerprint; its ``parts`` make a refusal say what differs.

        Raises:
            DataError: The index is missing, half-written or damaged.
            IndexMismatch: Another model made it.
        """
        card, vectors, rows = load_index(layout, kinds=get_args(IndexKind), fingerprint=fingerprint, parts=parts)
        of_kind = {kind: vectors[kind] for kind in get_args(IndexKind)}
        try:
            mixture = {group: Mixture.model_validate(found) for group, found in card["mixture"].items()}
            return cls(fingerprint, rows, of_kind, completed(mixture))
        except (KeyError, AttributeError, ValidationError, ConfigError) as error:
            raise DataError(f"{layout.card}: no mixture of this version ({error}); build the index again") from error


def _entity_rows(data: DataLayout, among: Collection[str] | None) -> pd.DataFrame:
    rows = pairs.read_frame(data.entities)
    rows = rows.reindex(columns=["entity_id", "entity", "aliases", "category", "language", "tags", "date"])
    rows = rows if among is None else rows[rows["entity_id"].isin(among)].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"{data.entities}: no entities, so there is nothing to search; ingest again")
    pictures = pairs.read_frame(data.pairs, columns=["entity_id", "split"])
    counts = pictures.loc[pictures["split"] == "train", "entity_id"].value_counts()
    for column in ("aliases", "tags"):  # data may say nothing of tags and dates
        rows[column] = [list(names) if isinstance(names, np.ndarray | list) else [] for names in rows[column]]
    rows["date"] = rows["date"].fillna("").astype(str)
    rows["train_pictures"] = rows["entity_id"].map(counts).fillna(0).astype(int)
    rows["slice"] = rows["train_pictures"].map(slice_of)
    return rows


def _explanations(data: DataLayout, rows: pd.DataFrame, *, some: bool) -> pd.Series:
    """All texts about the entities; the series' index is the row of the entity."""
    explanations = pairs.read_frame(data.explanations, columns=["entity_id", "text"])
    if some:  # of all entities, every explanation has to be about one
        explanations = explanations[explanations["entity_id"].isin(rows["entity_id"])]
    owner = _rows_of(rows, explanations["entity_id"])
    return pd.Series(list(explanations["text"]), index=owner, dtype="str")


def as_read(model: LoadedModel, texts: Iterable[str], *, names: Iterable[tuple[str, ...]]) -> list[str]:
    """Explanations as the model reads them: as in training, or else the names pull the vector to the caption's.

    Args:
        model: Was trained with the names masked, or without.
        texts: N explanations.
        names: For each one, all names of the entity that it is about.
    """
    masked = model.card.config.get("mask_names", True)
    return [mask_names(text, its) if masked else text for text, its in zip(texts, names, strict=True)]


def names_of(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """All names of each entity: its name and its aliases."""
    return [(entity, *aliases) for entity, aliases in zip(rows["entity"], rows["aliases"], strict=True)]


def mean_by_owner(vectors: np.ndarray, owner: np.ndarray, *, owners: int) -> np.ndarray:
    """(N, D) vectors, (N,) whose each is -> (owners, D) unit mean of each one's, zero where it has none."""
    sums = np.zeros((owners, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owner, vectors)
    return unit(sums)


def _rows_of(rows: pd.DataFrame, entity_ids: Iterable[str]) -> np.ndarray:
    ids = pd.Index(entity_ids)
    found = pd.Index(rows["entity_id"]).get_indexer(ids)
    if (found < 0).any():
        unknown = ids[found < 0]
        raise DataError(f"entity_id {unknown[0]} (and {len(unknown) - 1} more) is not among the entities; ingest again")
    return found
