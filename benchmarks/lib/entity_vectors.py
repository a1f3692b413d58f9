"""R@1 of one model with each vector of an entity, and once its products without training pictures have pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entityclip.evaluation.calibrate import calibrate_index
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import SLICES, IndexKind


def recalls(entities: EntityIndex, pictures: PictureIndex, *, index: IndexKind = "mixed") -> dict[str, float]:
    """Slice, and 'all' -> R@1 of ``pictures`` in percent."""
    truth = entities.rows_of(pictures.rows["entity_id"])
    ranked = metrics.ranks(pictures.vectors, entities.vectors[index], truth, offset=entities.offsets[index])
    first, slices = ranked.rank == 1, entities.rows["slice"].to_numpy()[truth]
    parts = {name: first[slices == name] for name in SLICES if (slices == name).any()} | {"all": first}
    return {name: round(100 * float(part.mean()), 1) for name, part in parts.items()}


def by_vector(model: LoadedModel, data: DataLayout) -> dict[str, dict[str, float]]:
    """Entity vector -> R@1 on the test pictures by slice; mixtures are calibrated on the validation pictures.

    ``texts`` mixes caption and explanation alone. ``served`` is the mixed index after the entities without training
    pictures were given their validation pictures, as in a package and in a service.
    """
    taught, val, test = (PictureIndex.build(model, data, split=split) for split in ("train", "val", "test"))
    entities = EntityIndex.build(model, data, pictures=taught)
    singles: tuple[IndexKind, ...] = ("caption", "explanation", "images")
    found = {str(kind): recalls(entities, test, index=kind) for kind in singles}
    found["texts"] = recalls(calibrate_index(entities, val, scale=model.scale, kinds=singles[:2]), test)
    mixed = calibrate_index(entities, val, scale=model.scale)
    found["mixed"] = recalls(mixed, test)
    late = set(entities.rows.loc[entities.rows["slice"] == "none", "entity_id"])
    given = val.rows["entity_id"].isin(late).to_numpy()
    rows = pd.concat([taught.rows, val.rows[given]], ignore_index=True)
    known = PictureIndex(taught.fingerprint, rows, np.concatenate([taught.vectors, val.vectors[given]]))
    found["served"] = recalls(mixed.with_pictures(known), test)
    return found
