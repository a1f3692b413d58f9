"""The published equations, written out: the reference of the tests and of ``step.py``.

Every expert is a separate module, every position of every input goes through every matrix, and only then one position
of the result is read. GI-ITM computes its negative pairs again; its positive pairs are those of MMAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import nn

from entityclip.model.config import LossConfig
from entityclip.model.entityclip import Batch, EntityCLIP
from entityclip.model.hard_negatives import hard_negatives
from entityclip.model.losses import cosine
from entityclip.model.mmae import MMAE
from entityclip.model.tokens import TowerOutput

GROUPS = ("image", "shared", "text")


class PlainExpert(nn.Module):
    """``h = x + Attn(LN1(x), LN1(y), LN1(y)); out = h + MLP(LN2(h))`` with one head and QuickGELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads=1, batch_first=True)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Queries from x (B, Lx, D), keys and values from y (B, Ly, D) where ``mask`` (B, Ly) is True: (B, Lx, D)."""
        queries = self.norm1(x)
        keys = queries if y is x else self.norm1(y)
        h = x + self.attention(queries, keys, keys, key_padding_mask=~mask, need_weights=False)[0]
        wide = self.up(self.norm2(h))
        return h + self.down(wide * torch.sigmoid(1.702 * wide))


class PlainMMAE(nn.Module):
    """Experts, gates and matching head with the weights of an ``MMAE``."""

    def __init__(self, mmae: MMAE) -> None:
        super().__init__()
        dim = mmae.match.in_features
        self.image, self.shared, self.text = (
            nn.ModuleList(PlainExpert(dim) for _ in getattr(mmae, group).q) for group in GROUPS
        )
        self.image_gate, self.text_gate = deepcopy(mmae.image_gate), deepcopy(mmae.text_gate)
        self.pair_gate, self.match = deepcopy(mmae.pair_gate), deepcopy(mmae.match)
        self.to(mmae.match.weight).load_state_dict(as_plain(dict(mmae.named_parameters())))

    def forward(
        self, image: TowerOutput, text: TowerOutput, explanation: TowerOutput
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """B triples: ``v*`` (B, D), ``t*`` (B, D) and the logits of GI-ITM (B, 2), column 1 says "match"."""
        on_image = [_read(expert, image, image) for expert in self.image]
        on_text = [_read(expert, text, text) for expert in self.text]
        shared_image = [_read(expert, image, explanation) for expert in self.shared]
        shared_text = [_read(expert, text, explanation) for expert in self.shared]
        v, t = image.pooled(), text.pooled()
        pair = _gated(self.pair_gate, torch.cat([v, t], dim=1), on_image + shared_image + on_text + shared_text)
        return (
            _gated(self.image_gate, v, on_image + shared_image),
            _gated(self.text_gate, t, on_text + shared_text),
            self.match(pair),
        )


def _read(expert: nn.Module, x: TowerOutput, y: TowerOutput) -> torch.Tensor:
    return TowerOutput(expert(x.tokens, y.tokens, y.mask), x.at, x.mask).pooled()


def _gated(gate: nn.Module, query: torch.Tensor, outputs: list[torch.Tensor]) -> torch.Tensor:
    weights = gate(query).softmax(dim=1)  # (B, K)
    return torch.stack([weights[:, [k]] * output for k, output in enumerate(outputs)]).sum(dim=0)


def as_plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An ``MMAE``'s tensors, by name, under the names and in the shapes of ``PlainMMAE``.

    It only cuts and transposes, so it is right for weights and for gradients. The keys' bias, which the fast form
    leaves out, is 0: it moves all scores of a query alike and the softmax forgets it.
    """
    plain = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in GROUPS}
    for group in GROUPS:
        for k in range(len(tensors[f"{group}.q"])):
            of = {name.removeprefix(f"{group}."): t[k] for name, t in tensors.items() if name.startswith(f"{group}.")}
            weights = _of_an_expert({name: t[0] if len(t) == 1 else t.T for name, t in of.items()})
            plain |= {f"{group}.{k}.{name}": tensor for name, tensor in weights.items()}
    return plain


def _of_an_expert(of: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        "norm1.weight": of["gain1"],
        "norm1.bias": of["bias1"],
        "norm2.weight": of["gain2"],
        "norm2.bias": of["bias2"],
        "attention.in_proj_weight": torch.cat([of["q"], of["k"], of["v"]]),
        "attention.in_proj_bias": torch.cat([of["bq"], torch.zeros_like(of["bq"]), of["bv"]]),
        "attention.out_proj.weight": of["o"],
        "attention.out_proj.bias": of["bo"],
        "up.weight": of["up"],
        "up.bias": of["bup"],
        "down.weight": of["down"],
        "down.bias": of["bdown"],
    }


def plain_losses(model: EntityCLIP, mmae: PlainMMAE, batch: Batch, *, config: LossConfig) -> dict[str, torch.Tensor]:
    """The result of ``model.losses`` with the same towers and hard negatives, and with plain experts."""
    image = model.image_tokens(batch.pictures)
    text = model.text_tokens(batch.captions[batch.caption_of])
    explanation = model.text_tokens(batch.explanations[batch.explanation_of])
    scale, v, t = model.logit_scale.exp().clamp(max=100), image.pooled(), text.pooled()

    def vtc(a: torch.Tensor, b: torch.Tensor, entities: torch.Tensor) -> torch.Tensor:
        return plain_vtc(scale * cosine(a, b), entities, smoothing=config.smoothing)

    known = batch.explained
    gated_image, gated_text, true_pairs = mmae(image, text, explanation)
    parts = [-true_pairs.log_softmax(dim=1)[:, 1].mean()]
    negatives = hard_negatives(scale * cosine(v, t), batch.entities, draws=batch.draws)
    if bool(negatives.found):
        texts, pictures = negatives.texts, negatives.pictures
        with_hard_text = mmae(image, text.rows(texts), explanation.rows(texts))[2]
        with_hard_picture = mmae(image.rows(pictures), text, explanation)[2]
        parts += [-wrong.log_softmax(dim=1)[:, 0].mean() for wrong in (with_hard_text, with_hard_picture)]
    terms = {
        "vtc": vtc(v, t, batch.entities),
        "mmae": vtc(gated_image, gated_text, batch.entities),
        "itm": torch.stack(parts).mean(),
    }
    terms["loss"] = terms["vtc"] + config.beta * terms["mmae"] + config.eta * terms["itm"]
    if bool(known.any()):
        terms["explanation"] = vtc(v[known], explanation.pooled()[known], batch.entities[known])
        terms["loss"] = terms["loss"] + config.explanation * terms["explanation"]
    return terms


def plain_vtc(logits: torch.Tensor, entities: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Symmetric InfoNCE of (B, B) logits: the rows of one entity share the weight of a positive."""
    same = (entities[:, None] == entities[None, :]).to(logits)
    targets = (1 - smoothing) * same / same.sum(dim=1, keepdim=True) + smoothing / len(entities)
    by_picture, by_text = (-(targets * each.log_softmax(dim=1)).sum(dim=1).mean() for each in (logits, logits.T))
    return (by_picture + by_text) / 2
