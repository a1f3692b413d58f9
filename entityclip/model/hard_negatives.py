"""Hard negatives of GI-ITM (arXiv 2410.17810): drawn within a batch by similarity, on the device that has it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from entityclip.model.losses import FAR


class HardNegatives(NamedTuple):
    """One hard text for each picture and one hard picture for each text, as rows of the batch."""

    texts: torch.Tensor  # (R,)
    pictures: torch.Tensor  # (R,)
    found: torch.Tensor  # scalar bool: False where the whole batch is one entity; the rows then mean nothing


def hard_negatives(
    similarity: torch.Tensor, entities: torch.Tensor, *, draws: torch.Tensor, first: int = 0
) -> HardNegatives:
    """Draw in proportion to the softmax of the similarities.

    Args:
        similarity: (B, B) scaled similarities, pictures in rows, texts in columns.
        entities: (B,) entity numbers; the same entity is never a negative.
        draws: (R, 2) uniform in 0..1, for the text and the picture of each of R rows.
        first: The first of these rows; the others follow it.
    """
    own = slice(first, first + len(draws))
    same = entities[own, None] == entities[None, :]
    scores = torch.stack([similarity[own], similarity[:, own].T]).detach().masked_fill(same, FAR)  # (2, R, B)
    shares = scores.softmax(dim=2)
    sums = shares.cumsum(dim=2)
    heights = (draws.T[:, :, None] * sums[:, :, -1:]).contiguous()
    picks = torch.searchsorted(sums, heights, right=True).clamp(max=len(entities) - 1)
    # a draw may round up to the end, and a GPU's parallel sums need not rise: the likeliest is taken then
    picks = torch.where(shares.gather(2, picks) > 0, picks, scores.argmax(dim=2, keepdim=True))
    texts, pictures = picks[:, :, 0].unbind()
    return HardNegatives(texts, pictures, ~same.all())
