"""Losses: contrastive with many positives, and matching. Imports nothing of the model."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def contrastive(
    a: torch.Tensor, b: torch.Tensor, *, scale: torch.Tensor, entities: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Symmetric InfoNCE between rows of ``a`` and ``b``, both (B, D), of ``entities`` (B,).

    The published VTC has one positive a row; catalogues repeat captions in every batch, so the rows of one
    entity share the weight of a positive. ``smoothing`` spreads that share of each target over all rows.
    """
    logits = scale * cosine(a, b)
    same = (entities[:, None] == entities[None, :]).to(logits.dtype)
    targets = (1 - smoothing) * same / same.sum(dim=1, keepdim=True) + smoothing / len(entities)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(A, D), (B, D) -> (A, B) cosine similarities, never in half precision: times 100, it rounds by a whole step."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (a, b))
        return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def matching(true_pairs: torch.Tensor, *wrong_pairs: torch.Tensor) -> torch.Tensor:
    """GI-ITM's loss: mean cross-entropy of the true pairs and of each kind of hard negative; logits (B, 2) each."""
    parts = [F.cross_entropy(true_pairs, true_pairs.new_ones(len(true_pairs), dtype=torch.long))]
    parts += [F.cross_entropy(wrong, wrong.new_zeros(len(wrong), dtype=torch.long)) for wrong in wrong_pairs]
    return torch.stack(parts).mean()
