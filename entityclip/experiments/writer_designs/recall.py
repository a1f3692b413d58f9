"""Whether validation pictures find their entities by the texts of a design."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entityclip.model.checkpoint import LoadedModel
from entityclip.quality.image_text_scores import entity_centres
from entityclip.quality.model_scores import EntityPictures, texts_as_read
from entityclip.retrieval import metrics
from entityclip.retrieval.index.embedding import embedded_texts, finite


def found_entities(
    model: LoadedModel, texts: pd.DataFrame, entities: pd.DataFrame, pictures: EntityPictures
) -> pd.DataFrame:
    """One row per picture: entity_id, and ``hit``, 100 where the texts of its entity come first of all, else 0.

    An entity is the mean of its texts. A picture whose entity has no text finds nothing.

    Args:
        model: What compares texts with pictures.
        texts: Texts of the sample: entity_id, text.
        entities: The entity table, whose names are masked in the texts, as in training.
        pictures: P pictures of the sample that the model was not trained on.
    """
    owner, known = pd.factorize(texts["entity_id"])
    read = texts_as_read(model, texts, entities)
    vectors = finite(embedded_texts(model, read, what="embedding texts", progress=False), model)
    candidates = entity_centres(vectors, owner, count=len(known))
    truth = pd.Index(known).get_indexer(pd.Index(pictures.owners))
    hit = np.zeros(len(truth))
    described = np.flatnonzero(truth >= 0)
    hit[described] = 100.0 * (metrics.ranks(pictures.vectors[described], candidates, truth[described]).rank == 1)
    return pd.DataFrame({"entity_id": pictures.owners, "hit": hit})
