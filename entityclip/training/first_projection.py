"""The first weights of an image tower's fresh projection: whitened principal components of what the tower gives.

A pretrained tower without a joint space ends in a projection that starts at random. Whitened components keep what
tells the pictures of this data version apart, and weigh each direction alike: the mean picture of each product then
recognises as well as a linear classifier on the tower's features, before the first step. Features are not centred,
because projections have no bias.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from open_clip.timm_model import TimmModel
from torch import nn
from torch.nn import functional as F

from entityclip.data.image_cache import SplitImages
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.frozen_part import tokens_of_features
from entityclip.model.image_towers import image_tokens
from entityclip.training.frozen_features import CHUNK, FrozenFeatures, Views

MOST = 4000
"""Pictures that the components are computed from, at most."""
RIDGE = 0.1
"""What is added to the strength of each component, as a share of their mean; 0.02 to 0.3 make no difference."""


def fresh_projection(model: EntityCLIP) -> nn.Linear | None:
    """The linear projection of a timm tower with weights of its own, if it starts at random."""
    if not any(name.startswith("visual.head.") for name in model.fresh()) or not isinstance(model.visual, TimmModel):
        return None
    last = model.visual.head[-1]
    return last if isinstance(last, nn.Linear) and last.bias is None else None


def start_from_components(
    model: EntityCLIP, pictures: SplitImages, *, views: Views, kept: FrozenFeatures | None
) -> None:
    """Put the whitened components of the pictures into a fresh projection; other models stay as they are.

    The weights together stay as large as they were at random, so that a learning rate means the same.

    Args:
        model: Towers before their first step.
        pictures: The N training pictures.
        views: How they are prepared; the first view is looked at.
        kept: Features of that view, where they are kept.
    """
    projection = fresh_projection(model)
    if projection is None:
        return
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(MOST, len(pictures))).astype(np.int64))
    learning = model.visual.training
    model.visual.eval()
    model.visual.head[-1] = nn.Identity()
    try:
        pooled = torch.cat(list(_pooled(model, pictures, rows, views=views, kept=kept)))
    finally:
        model.visual.head[-1] = projection
        model.visual.train(learning)
    weight = whitening(F.normalize(pooled, dim=1).cpu().numpy(), dim=projection.out_features)
    with torch.no_grad():
        first = torch.from_numpy(weight).to(projection.weight)
        projection.weight.copy_(first * (projection.weight.norm() / first.norm()))


@torch.inference_mode()
def _pooled(
    model: EntityCLIP, pictures: SplitImages, rows: np.ndarray, *, views: Views, kept: FrozenFeatures | None
) -> Iterator[torch.Tensor]:
    device = next(model.visual.parameters()).device
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        if kept is None:
            shown = views.pictures(pictures.read(chunk), view=0, device=device)
            yield image_tokens(model.visual, shown).pooled()
        else:
            features = kept.read(chunk, torch.zeros(len(chunk))).to(device).float()
            yield tokens_of_features(model.visual, features, blocks=kept.blocks).pooled()


def whitening(rows: np.ndarray, *, dim: int) -> np.ndarray:
    """(dim, C) weights that make the strongest components of (N, C) rows nearly equally strong.

    ``RIDGE`` keeps weak ones from growing without bounds. Where N rows are too few for ``dim`` components, the weights
    of the others are 0: directions that no picture has would drown those that are known.
    """
    values, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
    count = max(1, min(dim, len(rows) - 1, rows.shape[1]))
    strongest = np.argsort(-values)[:count]
    kept = values[strongest]
    weight = np.zeros((dim, rows.shape[1]), np.float32)
    weight[:count] = (vectors[:, strongest] / np.sqrt(kept + RIDGE * kept.mean() + 1e-12)).T
    return weight
