"""Losses: contrastive with many positives, and matching. Imports nothing of the model.

Every shape is known before the values are, so that a GPU's host never waits: rows that do not count are masked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

FAR = -1e30
"""A logit of what cannot be: its share in a softmax is exactly 0, and times 0 it is no NaN, as infinity would be."""


class Targets(NamedTuple):
    """What rows and columns of (..., B, B) logits should be near to; one matrix serves both, since it is symmetric."""

    weights: torch.Tensor  # (..., B, B); each entry that counts, of the mean over the rows
    absent: torch.Tensor | None = None  # (..., B, B) bool: pairs that do not count; None: all count


def targets(
    entities: torch.Tensor, *, dtype: torch.dtype, smoothing: float = 0.0, known: torch.Tensor | None = None
) -> Targets:
    """Targets of rows of ``entities`` (B,), of which those count that are ``known`` (..., B), or all.

    The published VTC has one positive a row; catalogues repeat captions in every batch, so the rows of one
    entity share the weight of a positive. ``smoothing`` spreads that share of each target over all rows.
    """
    same = entities[:, None] == entities[None, :]
    if known is None:
        return Targets(_shares(same.to(dtype), smoothing, float(len(entities))) / len(entities))
    both = known[..., :, None] & known[..., None, :]
    # smoothing by a whole number would be rounded to single precision
    count = known.sum(dim=-1).clamp(min=1).to(dtype)[..., None, None]
    return Targets(_shares((same & both).to(dtype), smoothing, count) * both / count, ~both)


def _shares(same: torch.Tensor, smoothing: float, count: float | torch.Tensor) -> torch.Tensor:
    """Rows of positives, as shares of 1 each; a row without any has none."""
    shares = same / same.sum(dim=-1, keepdim=True).clamp(min=1)
    return (1 - smoothing) * shares + smoothing / count if smoothing else shares


def contrastive(logits: torch.Tensor, to: Targets) -> torch.Tensor:
    """Symmetric InfoNCE of (..., B, B) scaled similarities: the mean cross-entropy of rows and columns."""
    if to.absent is not None:
        logits = logits.masked_fill(to.absent, FAR)
    surprise = logits.log_softmax(dim=-1) + logits.log_softmax(dim=-2)
    return (surprise * to.weights).sum(dim=(-2, -1)) / -2


def unit(rows: torch.Tensor) -> torch.Tensor:
    """(..., D) -> the same of length 1, never in half precision: times 100, cosines would round by a whole step."""
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(A, D), (B, D) -> (A, B) cosine similarities, in float32 at least."""
    return products(unit(a), unit(b))


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(..., A, D), (..., B, D) -> (..., A, B) inner products in the precision of the rows, whatever autocast says."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.mT


def matching(logits: torch.Tensor, *, true: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """GI-ITM's loss: mean cross-entropy of the (P, 2) logits that count, column 1 says "match".

    Args:
        logits: Of the pairs; as many of each kind, so that the mean over all is the mean over the kinds.
        true: (P,) bool: the pair belongs together.
        counted: (P,) bool: the pair counts.
    """
    surprise = F.cross_entropy(logits, true.long(), reduction="none")
    return (surprise * counted).sum() / counted.sum()
