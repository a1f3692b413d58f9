"""Image-text scores of explanations: an earlier model embeds them and the pictures of their entities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.text import mask_names
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality.colour_histogram import COLOURS, colour_histogram
from entityclip.quality.image_text_scores import score_against_pictures
from entityclip.retrieval.index.embedding import CHUNK, decoded, embedded_texts, finite
from entityclip.schemas.base import Split

PICTURES_EACH = 8
"""Pictures of an entity that are embedded; more hardly change their mean."""
SPLITS: tuple[Split, ...] = ("train", "val")
"""Test pictures are left out: texts chosen by them would inflate the recall that is measured on them."""


class EntityPictures(NamedTuple):
    """Picture vectors of one model, with the entity of each picture."""

    owners: list[str]
    """The entity_id of each of P pictures."""
    vectors: np.ndarray
    """(P, D) unit rows."""
    colours: np.ndarray | None = None
    """(P, 108) colour histograms; None where nothing reads them."""


def score_with_model(
    model: LoadedModel,
    explanations: pd.DataFrame,
    data: DataLayout,
    *,
    seen: EntityPictures | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """``explanations`` with the columns of ``image_text_scores.score_against_pictures``.

    Args:
        model: One that was not trained on these texts; otherwise it agrees with their faults.
        explanations: entity_id and text.
        data: Their entities and pictures.
        seen: Result of ``embed_pictures`` for at least these entities. None: the pictures are embedded now.
        progress: Show bars.

    Raises:
        DataError: The data are incomplete, or a picture in them cannot be decoded.
        CheckpointError: The model returns vectors that are not finite.
    """
    entities = pairs.read_frame(data.entities)
    texts = texts_as_read(model, explanations, entities)
    seen = seen or embed_pictures(model, data, set(explanations["entity_id"]), progress=progress)
    vectors = embedded_texts(model, texts, what="embedding explanations", progress=progress)
    return score_against_pictures(
        explanations,
        entities,
        text_vectors=finite(vectors, model),
        picture_vectors=seen.vectors,
        picture_entities=seen.owners,
    )


def texts_as_read(model: LoadedModel, explanations: pd.DataFrame, entities: pd.DataFrame) -> list[str]:
    """The texts as the model reads them. Names of other entities stay, as in training."""
    if not model.card.config.get("mask_names", True):
        return explanations["text"].fillna("").tolist()
    return without_names(explanations, entities)


def without_names(explanations: pd.DataFrame, entities: pd.DataFrame) -> list[str]:
    """The texts with the names of their own entity masked."""
    texts = explanations["text"].fillna("").tolist()
    names = dict(zip(entities["entity_id"], zip(entities["entity"], entities["aliases"], strict=True), strict=True))
    owners = [names.get(entity_id, ("", None)) for entity_id in explanations["entity_id"]]
    return [
        mask_names(text, [name, *(() if aliases is None else aliases)])
        for text, (name, aliases) in zip(texts, owners, strict=True)
    ]


class PictureModel(Protocol):
    """What embeds pictures: a model of these data, or a pretrained tower."""

    @property
    def dim(self) -> int:
        """Width D of the vectors."""

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """N pictures -> (N, D) float32, unit rows."""


def embed_pictures(
    model: LoadedModel,
    data: DataLayout,
    wanted: set[str],
    *,
    splits: tuple[Split, ...] = SPLITS,
    progress: bool = False,
) -> EntityPictures:
    """Embed the first ``PICTURES_EACH`` pictures (by id) of each ``wanted`` entity. Raises as ``score_with_model``."""
    found = entity_pictures(model, data, wanted, splits=splits, progress=progress)
    return found._replace(vectors=finite(found.vectors, model))


def entity_pictures(
    model: PictureModel,
    data: DataLayout,
    wanted: set[str],
    *,
    each: int = PICTURES_EACH,
    splits: tuple[Split, ...] = SPLITS,
    progress: bool = False,
) -> EntityPictures:
    """Embed the first ``each`` pictures (by id) of each ``wanted`` entity, without those of the test split.

    Raises:
        DataError: A picture cannot be decoded.
    """
    chosen = set(chosen_pictures(data, wanted, each=each, splits=splits)["pair_id"])
    return embedded_pairs(model, data, chosen, progress=progress)[1]


def chosen_pictures(
    data: DataLayout, wanted: set[str], *, each: int, splits: tuple[Split, ...] = SPLITS
) -> pd.DataFrame:
    """``pair_id, entity_id`` of the first ``each`` pictures (by id) of each ``wanted`` entity in these splits."""
    listed = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id", "split"]).sort_values("pair_id")
    listed = listed[listed["split"].isin(splits) & listed["entity_id"].isin(wanted)]
    return listed.loc[listed.groupby("entity_id").cumcount() < each, ["pair_id", "entity_id"]].reset_index(drop=True)


def embedded_pairs(
    model: PictureModel, data: DataLayout, chosen: set[str], *, progress: bool = False
) -> tuple[list[str], EntityPictures]:
    """The pictures of these pairs, and the pairs in their order. Raises as ``entity_pictures``."""
    columns = ["pair_id", "entity_id", "image"]
    stored = (row for row in pairs.iter_rows(data.pairs, columns=columns) if row["pair_id"] in chosen)
    ids: list[str] = []
    owners: list[str] = []
    vectors, colours = [np.zeros((0, model.dim), dtype=np.float32)], [np.zeros((0, COLOURS), dtype=np.float32)]

    def noted(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
        for picture in pictures:
            colours.append(colour_histogram(picture)[None])
            yield picture

    with tqdm(total=len(chosen), desc="embedding pictures", unit="", disable=not progress) as bar:
        while chunk := list(islice(stored, CHUNK)):
            images: list[dict[str, Any]] = [row["image"] for row in chunk]
            ids += [row["pair_id"] for row in chunk]
            owners += [row["entity_id"] for row in chunk]
            vectors.append(model.embed_images(noted(decoded(chunk, images))))
            bar.update(len(chunk))
    return ids, EntityPictures(owners, np.concatenate(vectors), np.concatenate(colours))
