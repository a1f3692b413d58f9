"""EntityCLIP whole: towers, experts, and the loss of one batch (arXiv 2410.17810, and docs on where we go further)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from entityclip.model.config import LossConfig, ModelConfig
from entityclip.model.distributed import gather, process
from entityclip.model.frozen_part import tokens_of_features
from entityclip.model.hard_negatives import HardNegatives, hard_negatives
from entityclip.model.losses import contrastive, matching, products, targets, unit
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
    explanations: TowerOutput | None = None  # of the distinct explanations


class ReadsTokens(Protocol):
    """What reads a batch's pictures and texts: the model itself, or graphs of its towers."""

    def batch_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """Tokens of a batch's pictures, or of the features that it holds in their place."""

    def text_tokens(self, ids: torch.Tensor) -> TowerOutput:
        """(B, L) token ids -> tokens (B, L', D)."""


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

    def read(self, batch: Batch, *, config: LossConfig, towers: ReadsTokens | None = None) -> Read:
        """The towers' tokens of the pictures and of the distinct texts; a text that no term needs is not read.

        Args:
            batch: What is read.
            config: Says which terms there are.
            towers: What reads it; by default this model itself.
        """
        towers = self if towers is None else towers  # graphs that are still empty count as False
        image = towers.batch_tokens(batch.pictures)
        if not (config.explanation or config.beta or config.eta):
            return Read(image, towers.text_tokens(batch.captions))
        return Read(image, *_both_texts(towers, batch.captions, batch.explanations))

    def batch_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """``image_tokens`` of a batch's pictures, or of the features that it holds in their place."""
        if self.features_behind is None:
            return self.image_tokens(pictures)
        return tokens_of_features(self.visual, pictures, blocks=self.features_behind)

    def losses_of(self, read: Read, batch: Batch, *, config: LossConfig) -> dict[str, torch.Tensor]:
        """``losses`` of a batch that the towers have read."""
        image, text = read.image, read.captions.rows(batch.caption_of)
        explanation = read.explanations.rows(batch.explanation_of) if read.explanations else None
        v, t = image.pooled(), text.pooled()
        sides = {"vtc": (v, t)}
        if explanation and config.explanation:
            sides["explanation"] = (v, explanation.pooled())
        if explanation and (config.beta or config.eta):
            attended = self.mmae(image, text, explanation, pooled=(v, t))
            sides["mmae"] = (attended.gated_image, attended.gated_text)
        similarities = self._similarities(*zip(*sides.values(), strict=True))
        entities = gather(batch.entities)
        known = _known(gather(batch.explained), terms=list(sides)) if "explanation" in sides else None
        to = targets(entities, dtype=similarities.dtype, smoothing=config.smoothing, known=known)
        terms = dict(zip(sides, contrastive(similarities, to).unbind(), strict=True))
        if explanation and config.eta:
            first = process() * len(batch.entities)
            negatives = hard_negatives(similarities[0], entities, draws=batch.draws, first=first)
            terms["itm"] = self._matching(attended, explanation, negatives=negatives)
        loss = terms["vtc"]
        for name, weight in {"explanation": config.explanation, "mmae": config.beta, "itm": config.eta}.items():
            loss = loss.add(terms[name], alpha=weight) if name in terms else loss
        return terms | {"loss": loss}

    def _similarities(self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> torch.Tensor:
        """T sides of (B, D) rows, and what each is compared with -> (T, B', B') scaled, of all processes' rows."""
        vectors = unit(gather(torch.stack([*ours, *theirs]), dim=1))
        scale = self.logit_scale.exp().clamp(max=MAX_SCALE)
        return scale * products(*vectors.chunk(2))

    def _matching(self, attended: Attended, explanation: TowerOutput, *, negatives: HardNegatives) -> torch.Tensor:
        """GI-ITM's loss over this process's true pairs, each picture's hard text and each text's hard picture."""
        count, device = len(explanation.at), explanation.at.device
        own = torch.arange(count, device=device) + process() * count
        whole = Attended(*(gather(outputs, dim=outputs.ndim - 2) for outputs in attended))
        texts = TowerOutput(*(gather(part) for part in explanation))
        pictures = torch.cat([own, own, negatives.pictures])
        pairs = torch.stack([pictures, torch.cat([own, negatives.texts, own])], dim=1)
        logits = self.mmae.match_logits(whole, texts, pairs=pairs, true=count)
        true = torch.arange(3 * count, device=device) < count
        return matching(logits, true=true, counted=true | negatives.found)


def _known(explained: torch.Tensor, *, terms: list[str]) -> torch.Tensor:
    """(T, B) bool: rows that count in each term; without explanation, a row has no part in the term of that name."""
    every = torch.ones_like(explained)
    return torch.stack([explained if term == "explanation" else every for term in terms])


def _both_texts(
    towers: ReadsTokens, captions: torch.Tensor, explanations: torch.Tensor
) -> tuple[TowerOutput, TowerOutput]:
    """Tokens of both, in one pass where they are padded to one length: half the operations, and no padding more."""
    if captions.shape[1] != explanations.shape[1]:
        return towers.text_tokens(captions), towers.text_tokens(explanations)
    both = towers.text_tokens(torch.cat([captions, explanations]))
    parts = [part.split([len(captions), len(explanations)]) for part in both]
    first, second = (TowerOutput(*halves) for halves in zip(*parts, strict=True))
    return first, second
