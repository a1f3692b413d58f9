"""EntityCLIP whole: towers, experts, and the loss of one batch (arXiv 2410.17810, and docs on where we go further)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from entityclip.model.config import LossConfig, ModelConfig
from entityclip.model.distributed import gather, process
from entityclip.model.frozen_part import tokens_of_features
from entityclip.model.hard_negatives import HardNegatives, hard_negatives
from entityclip.model.losses import contrastive, cosine, matching, products, targets, unit
from entityclip.model.mmae import MMAE, Attended
from entityclip.model.text_towers import attend_causally
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
    draws: torch.Tensor  # (B, 2) uniform in 0..1: which hard text and which hard picture each row gets

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
        attend_causally(self.text)
        self.mmae = MMAE(self.dim, config.experts)
        self.features_behind: int | None = None
        """Blocks of the image tower whose output a batch holds in place of pictures; None: it holds pictures."""

    def losses(self, batch: Batch, *, config: LossConfig) -> dict[str, torch.Tensor]:
        """The terms of the loss and their weighted sum ``loss``, each a scalar. A term of weight 0 costs nothing.

        No value is read on the way, so that the host of a GPU never waits.

        With several processes, ``batch`` is this one's share, as large as every other's, and the terms are those of
        the whole batch; but for 'itm', which is the mean over this process's rows.
        """
        return self.losses_of(self.read(batch, config=config), batch, config=config)

    forward = losses  # data-parallel wrappers hook in here

    def read(self, batch: Batch, *, config: LossConfig) -> Read:
        """The towers' tokens of the pictures and of the distinct texts; a text that no term needs is not read."""
        image = self.batch_tokens(batch.pictures)
        if not (config.explanation or config.beta or config.eta):
            return Read(image, self.text_tokens(batch.captions), None)
        return Read(image, *self._both_texts(batch.captions, batch.explanations))

    def _both_texts(self, captions: torch.Tensor, explanations: torch.Tensor) -> tuple[TowerOutput, TowerOutput]:
        """Tokens of both, in one pass where they are padded to one length: half the operations, and no padding more."""
        if captions.shape[1] != explanations.shape[1]:
            return self.text_tokens(captions), self.text_tokens(explanations)
        both = self.text_tokens(torch.cat([captions, explanations]))
        parts = [part.split([len(captions), len(explanations)]) for part in both]
        first, second = (TowerOutput(*halves) for halves in zip(*parts, strict=True))
        return first, second

    def batch_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """``image_tokens`` of a batch's pictures, or of the features that it holds in their place."""
        if self.features_behind is None:
            return self.image_tokens(pictures)
        return tokens_of_features(self.visual, pictures, blocks=self.features_behind)

    def losses_of(self, read: Read, batch: Batch, *, config: LossConfig) -> dict[str, torch.Tensor]:
        """``losses`` of a batch that the towers have read."""
        image, text = read.image, read.captions.rows(batch.caption_of)
        scale = self.logit_scale.exp().clamp(max=MAX_SCALE)
        entities = gather(batch.entities)
        explanation = read.explanations.rows(batch.explanation_of) if read.explanations else None
        v, t = gather(image.pooled()), gather(text.pooled())
        unit_v = unit(v)
        near = partial(targets, entities, dtype=unit_v.dtype, smoothing=config.smoothing)
        every = near()
        similarity = scale * products(unit_v, unit(t))
        terms = {"vtc": contrastive(similarity, every)}
        if explanation and config.explanation:
            to_explanations = scale * products(unit_v, unit(gather(explanation.pooled())))
            terms["explanation"] = contrastive(to_explanations, near(known=gather(batch.explained)))
        if explanation and (config.beta or config.eta):
            attended = self.mmae(image, text, explanation)
            terms["mmae"] = contrastive(
                scale * cosine(gather(attended.gated_image), gather(attended.gated_text)), every
            )
        if explanation and config.eta:
            negatives = hard_negatives(similarity, entities, draws=batch.draws, first=process() * len(batch.entities))
            terms["itm"] = self._matching(attended, v, t, explanation, negatives=negatives)
        loss = terms["vtc"]
        for name, weight in {"explanation": config.explanation, "mmae": config.beta, "itm": config.eta}.items():
            loss = loss.add(terms[name], alpha=weight) if name in terms else loss
        return terms | {"loss": loss}

    def _matching(
        self,
        attended: Attended,
        v: torch.Tensor,
        t: torch.Tensor,
        explanation: TowerOutput,
        *,
        negatives: HardNegatives,
    ) -> torch.Tensor:
        """GI-ITM's loss over this process's true pairs, each picture's hard text and each text's hard picture.

        ``v`` and ``t`` are whole.
        """
        count = len(explanation.at)
        own = torch.arange(count, device=v.device) + process() * count
        whole = Attended(*(gather(outputs, dim=outputs.ndim - 2) for outputs in attended))
        texts = TowerOutput(*(gather(part) for part in explanation))
        pictures = torch.cat([own, own, negatives.pictures])
        pairs = torch.stack([pictures, torch.cat([own, negatives.texts, own])], dim=1)
        logits = self.mmae.match_logits(whole, _single(v), _single(t), texts, pairs=pairs, true=count)
        true = torch.arange(3 * count, device=v.device) < count
        return matching(logits, true=true, counted=true | negatives.found)


def _single(vectors: torch.Tensor) -> TowerOutput:
    """(B, D) pooled vectors as tokens of which nothing else is left."""
    first = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    return TowerOutput(vectors[:, None], first, torch.ones_like(first, dtype=torch.bool)[:, None])
