"""What a model that was trained before thinks of explanations: it embeds them and their entities' pictures."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.text import mask_names
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality.image_text_scores import score_against_pictures
from entityclip.retrieval.index.embedding import CHUNK, decoded, embedded_texts, finite

PICTURES_EACH = 8
"""So many pictures of an entity are looked at; more would hardly move their mean."""
SPLITS = ("train", "val")
"""Pictures of test stay unseen: texts chosen by them would flatter the recall that is measured on them."""


class Seen(NamedTuple):
    """Pictures as one model sees them."""

    owners: list[str]
    """The entity_id of each of P pictures."""
    vectors: np.ndarray
    """(P, D) unit rows."""


def judged(
    model: LoadedModel,
    explanations: pd.DataFrame,
    data: DataLayout,
    *,
    seen: Seen | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """``explanations`` with the columns of ``quality.against.score_against_pictures``.

    Args:
        model: One that has not learned from these very texts, or it agrees with whatever is wrong in them.
        explanations: entity_id and text.
        data: Their entities and pictures.
        seen: What ``look`` gave for these entities, or more of them; where it is not given, the model looks now.
        progress: Show bars.

    Raises:
        DataError: The data are incomplete, or a picture in them cannot be decoded.
        CheckpointError: The model gives vectors that are not finite.
    """
    entities = pairs.read_frame(data.entities)
    texts = _as_read(model, explanations, entities)
    seen = seen or look(model, data, set(explanations["entity_id"]), progress=progress)
    vectors = embedded_texts(model, texts, what="embedding explanations", progress=progress)
    return score_against_pictures(
        explanations,
        entities,
        text_vectors=finite(vectors, model),
        picture_vectors=seen.vectors,
        picture_entities=seen.owners,
    )


def _as_read(model: LoadedModel, explanations: pd.DataFrame, entities: pd.DataFrame) -> list[str]:
    """The texts as the model reads them. Names of another entity stay: they are masked nowhere else either."""
    texts = explanations["text"].fillna("").tolist()
    if not model.card.config.get("mask_names", True):
        return texts
    names = dict(zip(entities["entity_id"], zip(entities["entity"], entities["aliases"], strict=True), strict=True))
    owners = [names.get(entity_id, ("", None)) for entity_id in explanations["entity_id"]]
    return [
        mask_names(text, [name, *(() if aliases is None else aliases)])
        for text, (name, aliases) in zip(texts, owners, strict=True)
    ]


def look(model: LoadedModel, data: DataLayout, wanted: set[str], *, progress: bool = False) -> Seen:
    """A few pictures of each ``wanted`` entity, the first by id, so the same every time. Raises like ``judged``."""
    listed = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id", "split"]).sort_values("pair_id")
    listed = listed[listed["split"].isin(SPLITS) & listed["entity_id"].isin(wanted)]
    chosen = set(listed.loc[listed.groupby("entity_id").cumcount() < PICTURES_EACH, "pair_id"])
    columns = ["pair_id", "entity_id", "image"]
    stored = (row for row in pairs.iter_rows(data.pairs, columns=columns) if row["pair_id"] in chosen)
    owners: list[str] = []
    vectors = [np.zeros((0, model.dim), dtype=np.float32)]
    with tqdm(total=len(chosen), desc="embedding pictures", unit="", disable=not progress) as bar:
        while chunk := list(islice(stored, CHUNK)):
            images: list[dict[str, Any]] = [row["image"] for row in chunk]
            owners += [row["entity_id"] for row in chunk]
            vectors.append(model.embed_images(decoded(chunk, images)))
            bar.update(len(chunk))
    return Seen(owners, finite(np.concatenate(vectors), model))
