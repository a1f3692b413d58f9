"""Hard negatives of GI-ITM (arXiv 2410.17810): drawn within a batch by similarity."""

from __future__ import annotations

import torch


def hard_negatives(
    similarity: torch.Tensor, entities: torch.Tensor, *, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """One hard text for each picture and one hard picture for each text.

    Args:
        similarity: (B, B) scaled similarities, pictures in rows, texts in columns.
        entities: (B,) entity numbers; the same entity is never a negative.
        generator: Source of the draws.

    Returns:
        Row numbers of texts (B,) and of pictures (B,), drawn in proportion to the softmax of the
        similarities; None when the whole batch is one entity.
    """
    same = entities[:, None] == entities[None, :]
    if bool(same.all()):
        return None
    masked = similarity.detach().masked_fill(same, float("-inf")).cpu()  # where the generator draws
    texts = torch.multinomial(masked.softmax(dim=1), 1, generator=generator)[:, 0]
    pictures = torch.multinomial(masked.T.softmax(dim=1), 1, generator=generator)[:, 0]
    return texts.to(entities.device), pictures.to(entities.device)
