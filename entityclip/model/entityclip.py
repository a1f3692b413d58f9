"""EntityCLIP whole: towers, experts, and the loss of one batch (arXiv 2410.17810, and docs on where we go further)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from entityclip.model.config import LossConfig, ModelConfig
from entityclip.model.distributed import gather, process
from entityclip.model.frozen_part import tokens_of_features
from entityclip.model.hard_negatives import hard_negatives
from entityclip.model.losses import contrastive, cosine, matching
from entityclip.model.mmae import MMAE, Attended
from entityclip.model.tokens import TowerOutput
from entityclip.model.towers import Towers

MAX_SCALE = 100.0
"""Largest factor of the similarities in the contrastive terms, as in CLIP."""


class Batch(NamedTuple):
    """One batch of true triples. Texts come once each, with the row numbers that use them."""

    pictures: torch.Tensor  # (B, 3, S, S) normalised, or features (B, ...) of them
    captions: torch.Tensor  # (C, L) ids of the distinct captions
    caption_of: torch.Tensor  # (B,) row of ``captions``
    explanations: torch.Tensor  # (E, L') ids of the distinct explanations, names masked
    explanation_of: torch.Tensor  # (B,) row of ``explanations``
    explained: torch.Tensor  # (B,) bool: False where there is no explanation
    entities: torch.Tensor  # (B,) entity numbers

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Read(NamedTuple):
    """What the towers made of a batch."""

    image: TowerOutput  # of B pictures
    captions: TowerOutput  # of the distinct captions
    explanations: TowerOutput | None  # of the distinct explanations


class EntityCLIP(Towers):
    """The towers that retrieval uses, and beside them the experts that only training uses."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.towers)
        self.config = config
        self.mmae = MMAE(self.dim, config.experts)
        self.features_behind: int | None = None
        """Blocks of the image tower whose output a batch holds in place of pictures; None: it holds pictures."""

    def losses(
        self, batch: Batch, *, config: LossConfig, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The terms of the loss and their weighted sum ``loss``, each a scalar. A term of weight 0 costs nothing.

        With several processes, ``batch`` is this one's share, as large as every other's, and the terms are those of
        the whole batch; but for 'itm', which is the mean over this process's rows.
        """
        return self.losses_of(self.read(batch, config=config), batch, config=config, generator=generator)

    forward = losses  # data-parallel wrappers hook in here

    def read(self, batch: Batch, *, config: LossConfig) -> Read:
        """The towers' tokens of the pictures and of the distinct texts; a text that no term needs is not read."""
        return Read(
            self.batch_tokens(batch.pictures),
            self.text_tokens(batch.captions),
            self.text_tokens(batch.explanations) if config.explanation or config.beta or config.eta else None,
        )

    def batch_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """``image_tokens`` of a batch's pictures, or of the features that it holds in their place."""
        if self.features_behind is None:
            return self.image_tokens(pictures)
        return tokens_of_features(self.visual, pictures, blocks=self.features_behind)

    def losses_of(
        self, read: Read, batch: Batch, *, config: LossConfig, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """``losses`` of a batch that the towers have read."""
        image, text = read.image, read.captions.rows(batch.caption_of)
        scale = self.logit_scale.exp().clamp(max=MAX_SCALE)
        entities, explained = gather(batch.entities), gather(batch.explained)
        explanation = read.explanations.rows(batch.explanation_of) if read.explanations else None

        def vtc(a: torch.Tensor, b: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            a, b = a.index_select(0, rows), b.index_select(0, rows)
            return contrastive(a, b, scale=scale, entities=entities[rows], smoothing=config.smoothing)

        everything = torch.arange(len(entities), device=entities.device)
        v, t = gather(image.pooled()), gather(text.pooled())
        terms = {"vtc": vtc(v, t, everything)}
        if explanation and config.explanation and bool(explained.any()):
            terms["explanation"] = vtc(v, gather(explanation.pooled()), explained.nonzero()[:, 0])
        if explanation and (config.beta or config.eta):
            attended = self.mmae(image, text, explanation)
            terms["mmae"] = vtc(gather(attended.gated_image), gather(attended.gated_text), everything)
        similarity = scale * cosine(v, t)
        if explanation and config.eta and bool(similarity.isfinite().all()):  # otherwise the loss says so, and nothing
            own = torch.arange(len(batch.entities)) + process() * len(batch.entities)  # can be drawn
            pairs = _pairs(hard_negatives(similarity, entities, generator=generator), own=own)
            terms["itm"] = self._matching(attended, v, t, explanation, pairs=pairs)
        weights = {"vtc": 1.0, "explanation": config.explanation, "mmae": config.beta, "itm": config.eta}
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms

    def _matching(
        self, attended: Attended, v: torch.Tensor, t: torch.Tensor, explanation: TowerOutput, *, pairs: torch.Tensor
    ) -> torch.Tensor:
        """GI-ITM's loss over ``pairs`` of rows of the whole batch, as many of each kind; ``v`` and ``t`` are whole."""
        whole = Attended(*(gather(outputs, dim=outputs.ndim - 2) for outputs in attended))
        texts = TowerOutput(*(gather(part) for part in explanation))
        logits = self.mmae.match_logits(whole, _single(v), _single(t), texts, pairs=pairs)
        return matching(*logits.split(len(explanation.at)))


def _single(vectors: torch.Tensor) -> TowerOutput:
    """(B, D) pooled vectors as tokens of which nothing else is left."""
    first = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    return TowerOutput(vectors[:, None], first, torch.ones_like(first, dtype=torch.bool)[:, None])


def _pairs(negatives: tuple[torch.Tensor, torch.Tensor] | None, *, own: torch.Tensor) -> torch.Tensor:
    """(P, 2) rows of picture and text: true pairs, each picture's hard text, each text's hard picture; of ``own``."""
    pairs = [torch.stack([own, own], dim=1)]
    if negatives is not None:
        texts, pictures = (n.cpu()[own] for n in negatives)
        pairs += [torch.stack([own, texts], dim=1), torch.stack([pictures, own], dim=1)]
    return torch.cat(pairs)
