"""MMAE and GI-ITM in the single-query form (EntityCLIP, arXiv 2410.17810, sections on MMAE and GI-ITM).

An expert is a pre-norm residual block with one attention head::

    h = x + Attn(LN1(x), LN1(y), LN1(y));  out = h + MLP(LN2(h))

and only one position of ``out`` is ever read. So only that query is computed, and the key and value products
move to the query side: with n the norm of y without its gain g and bias b, the scores are
``n . (g * (Wk^T q))`` (every other term is the same for all keys and cancels in the softmax) and the value is
``Wv (g * sum_l a_l n_l + b) + bv``. No product of a D x D matrix with a token remains.
Experts of a group are stacked: K is their number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from entityclip.model.config import ExpertConfig
from entityclip.model.tokens import TowerOutput


def _matrices(count: int, rows: int, columns: int) -> nn.Parameter:
    """``count`` matrices, each initialised like an ``nn.Linear`` of its size."""
    bound = rows**-0.5
    return nn.Parameter(torch.empty(count, rows, columns).uniform_(-bound, bound))


class Experts(nn.Module):
    """A group of K experts with stacked weights."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.gain1, self.bias1 = nn.Parameter(torch.ones(count, 1, dim)), nn.Parameter(torch.zeros(count, 1, dim))
        self.gain2, self.bias2 = nn.Parameter(torch.ones(count, 1, dim)), nn.Parameter(torch.zeros(count, 1, dim))
        self.q, self.bq = _matrices(count, dim, dim), nn.Parameter(torch.zeros(count, 1, dim))
        self.k = _matrices(count, dim, dim)  # its bias would cancel in the softmax
        self.v, self.bv = _matrices(count, dim, dim), nn.Parameter(torch.zeros(count, 1, dim))
        self.o, self.bo = _matrices(count, dim, dim), nn.Parameter(torch.zeros(count, 1, dim))
        self.up, self.bup = _matrices(count, dim, 4 * dim), nn.Parameter(torch.zeros(count, 1, 4 * dim))
        self.down, self.bdown = _matrices(count, 4 * dim, dim), nn.Parameter(torch.zeros(count, 1, dim))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Every expert's output at the one position that is read.

        Args:
            x: (B, D) the query rows, before any norm.
            keys: (B, L, D) the other side's tokens, normed without gain and bias.
            mask: (B, L) True where a key may be attended to; every row has at least one.

        Returns:
            (K, B, D).
        """
        q = torch.baddbmm(self.bq, _norm(x) * self.gain1 + self.bias1, self.q)  # (K, B, D)
        to_keys = torch.bmm(q, self.k.transpose(1, 2)) * self.gain1
        read = _attended(to_keys.transpose(0, 1), keys, mask).transpose(0, 1)  # (K, B, D)
        value = torch.baddbmm(self.bv, read * self.gain1 + self.bias1, self.v)
        h = x + torch.baddbmm(self.bo, value, self.o)
        wide = torch.baddbmm(self.bup, _norm(h) * self.gain2 + self.bias2, self.up)
        return h + torch.baddbmm(self.bdown, wide * torch.sigmoid(1.702 * wide), self.down)


def _attended(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, K, D) queries, (B, L, D) keys, which are the values too, (B, L) mask -> (B, K, D)."""
    keys = keys[:, None]
    return F.scaled_dot_product_attention(queries[:, None], keys, keys, attn_mask=mask[:, None, None])[:, 0]


def _norm(x: torch.Tensor) -> torch.Tensor:
    """Layer norm over the last axis, without gain and bias."""
    return F.layer_norm(x, x.shape[-1:])


class Attended(NamedTuple):
    """The experts' outputs on a batch, kept so that a negative pair gathers rows instead of computing them."""

    image: torch.Tensor  # (K_image, B, D)
    text: torch.Tensor  # (K_text, B, D)
    shared_image: torch.Tensor  # (K_shared, B, D)
    shared_text: torch.Tensor  # (K_shared, B, D)
    gated_image: torch.Tensor  # (B, D): v*
    gated_text: torch.Tensor  # (B, D): t*
    pooled_image: torch.Tensor  # (B, D): v, as the tower gave it
    pooled_text: torch.Tensor  # (B, D): t


class MMAE(nn.Module):
    """Multimodal attentive experts and the gated matching head on top of them. Needed in training only."""

    def __init__(self, dim: int, config: ExpertConfig) -> None:
        super().__init__()
        self.image, self.text = Experts(config.image, dim), Experts(config.text, dim)
        self.shared = Experts(config.shared, dim)
        self.image_gate = nn.Linear(dim, config.image + config.shared)
        self.text_gate = nn.Linear(dim, config.text + config.shared)
        self.pair_gate = nn.Linear(2 * dim, config.image + config.text + 2 * config.shared)
        self.match = nn.Linear(dim, 2)

    def forward(
        self,
        image: TowerOutput,
        text: TowerOutput,
        explanation: TowerOutput,
        *,
        pooled: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Attended:
        """Experts and gates on B true triples; ``pooled`` are the vectors of pictures and texts, if they are known."""
        v, t = pooled or (image.pooled(), text.pooled())
        keys = _norm(explanation.tokens)
        on_image = self.image(v, _norm(image.tokens), image.mask)
        on_text = self.text(t, _norm(text.tokens), text.mask)
        # once for both sides: a small batch costs what reading the weights costs
        shared = self.shared(torch.cat([v, t]), keys.repeat(2, 1, 1), explanation.mask.repeat(2, 1))
        shared_image, shared_text = shared.chunk(2, dim=1)
        return Attended(
            on_image,
            on_text,
            shared_image,
            shared_text,
            _gated(self.image_gate(v), torch.cat([on_image, shared_image])),
            _gated(self.text_gate(t), torch.cat([on_text, shared_text])),
            v,
            t,
        )

    def match_logits(
        self,
        attended: Attended,
        explanation: TowerOutput,
        *,
        pairs: torch.Tensor,
        true: int = 0,
    ) -> torch.Tensor:
        """GI-ITM on ``pairs`` (P, 2) of a picture's row and a text's row: logits (P, 2), column 1 says "match".

        The first ``true`` pairs have the same row twice, and all that they need is in ``attended``. Of the others, the
        shared experts on the picture with the other text's explanation are new; all else is gathered.
        """
        pictures, texts = pairs.to(explanation.at.device).unbind(dim=1)
        v = attended.pooled_image.index_select(0, pictures)  # see TowerOutput.rows
        t = attended.pooled_text.index_select(0, texts)
        other = explanation.rows(texts[true:])
        fresh = self.shared(v[true:], _norm(other.tokens), other.mask)
        shared_image = torch.cat([attended.shared_image.index_select(1, pictures[:true]), fresh], dim=1)
        on_text = (attended.text.index_select(1, texts), attended.shared_text.index_select(1, texts))
        outputs = [attended.image.index_select(1, pictures), shared_image, *on_text]
        return self.match(_gated(self.pair_gate(torch.cat([v, t], dim=-1)), torch.cat(outputs)))


def _gated(logits: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Gate logits (B, K) and expert outputs (K, B, D) -> their weighted sum (B, D)."""
    return torch.einsum("bk,kbd->bd", logits.softmax(dim=-1), outputs)
