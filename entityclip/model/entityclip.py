"""EntityCLIP whole: towers, experts, and the loss of one batch (arXiv 2410.17810, and docs on where we go further)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch.nn import functional as F

from entityclip.model.losses import contrastive, hard_negatives, matching, targets_by_entity
from entityclip.model.mmae import MMAE, ExpertConfig
from entityclip.model.towers import TowerConfig, Towers
from entityclip.records import Record


class ModelConfig(Record):
    """What the model is built from."""

    towers: TowerConfig = TowerConfig()
    experts: ExpertConfig = ExpertConfig()


class LossConfig(Record):
    """Weights of the loss ``VTC(v, t) + explanation * VTC(v, e) + beta * VTC(v*, t*) + eta * GI-ITM``."""

    explanation: float = Field(default=1.0, ge=0, description="Image-explanation term, names masked; 0 is published.")
    beta: float = Field(default=0.1, ge=0, description="Contrastive term of the gated experts.")
    eta: float = Field(default=0.1, ge=0, description="Gated matching term.")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the contrastive terms.")


class Batch(NamedTuple):
    """One batch of true triples. Texts come once each, with the row numbers that use them."""

    pictures: torch.Tensor  # (B, 3, S, S) normalised
    captions: torch.Tensor  # (C, L) ids of the distinct captions
    caption_of: torch.Tensor  # (B,) row of ``captions``
    explanations: torch.Tensor  # (E, L') ids of the distinct explanations, names masked
    explanation_of: torch.Tensor  # (B,) row of ``explanations``
    explained: torch.Tensor  # (B,) bool: False where there is no explanation
    entities: torch.Tensor  # (B,) entity numbers

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


class EntityCLIP(Towers):
    """The towers that retrieval uses, and beside them the experts that only training uses."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.towers)
        self.config = config
        self.mmae = MMAE(self.dim, config.experts)

    def losses(
        self, batch: Batch, *, config: LossConfig, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The terms of the loss and their weighted sum ``loss``, each a scalar. A term of weight 0 costs nothing."""
        image = self.image_tokens(batch.pictures)
        text = self.text_tokens(batch.captions).rows(batch.caption_of)
        scale = self.logit_scale.exp().clamp(max=100)

        def vtc(a: torch.Tensor, b: torch.Tensor, entities: torch.Tensor) -> torch.Tensor:
            return contrastive(a, b, scale=scale, targets=targets_by_entity(entities), smoothing=config.smoothing)

        v, t = image.pooled(), text.pooled()
        terms = {"vtc": vtc(v, t, batch.entities)}
        if config.explanation or config.beta or config.eta:
            explanation = self.text_tokens(batch.explanations).rows(batch.explanation_of)
        if config.explanation and bool(batch.explained.any()):
            rows = batch.explained.nonzero()[:, 0]
            terms["explanation"] = vtc(v[rows], explanation.pooled()[rows], batch.entities[rows])
        if config.beta or config.eta:
            attended = self.mmae(image, text, explanation)
            terms["mmae"] = vtc(attended.gated_image, attended.gated_text, batch.entities)
        similarity = scale * F.normalize(v, dim=-1) @ F.normalize(t, dim=-1).T
        if config.eta and bool(similarity.isfinite().all()):  # otherwise the loss says so, and nothing can be drawn
            pairs = _pairs(hard_negatives(similarity, batch.entities, generator=generator), rows=len(v))
            logits = self.mmae.match_logits(attended, image, text, explanation, pairs=pairs)
            terms["itm"] = matching(*logits.split(len(v)))
        weights = {"vtc": 1.0, "explanation": config.explanation, "mmae": config.beta, "itm": config.eta}
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms


def _pairs(negatives: tuple[torch.Tensor, torch.Tensor] | None, *, rows: int) -> torch.Tensor:
    """(P, 2) rows of picture and text: the true pairs, then each picture's hard text, then each text's hard picture."""
    own = torch.arange(rows)
    pairs = [torch.stack([own, own], dim=1)]
    if negatives is not None:
        texts, pictures = (n.cpu() for n in negatives)
        pairs += [torch.stack([own, texts], dim=1), torch.stack([pictures, own], dim=1)]
    return torch.cat(pairs)
