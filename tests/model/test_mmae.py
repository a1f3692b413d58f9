"""The single-query form against the same equations written out plainly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from entityclip.model.mmae import MMAE, ExpertConfig, Experts
from entityclip.model.towers import Tokens


def plain_expert(group: Experts, k: int, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Expert k on all positions of x (B, Lx, D), every key and value computed: (B, Lx, D)."""
    dim = x.shape[-1]

    def norm(z: torch.Tensor, which: int) -> torch.Tensor:
        gain, bias = getattr(group, f"gain{which}")[k, 0], getattr(group, f"bias{which}")[k, 0]
        return F.layer_norm(z, (dim,), gain, bias)

    q = norm(x, 1) @ group.q[k] + group.bq[k]
    keys = norm(y, 1) @ group.k[k]
    values = norm(y, 1) @ group.v[k] + group.bv[k]
    scores = (q @ keys.transpose(1, 2)) * dim**-0.5
    weights = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1)
    h = x + (weights @ values) @ group.o[k] + group.bo[k]
    wide = norm(h, 2) @ group.up[k] + group.bup[k]
    return h + (wide * torch.sigmoid(1.702 * wide)) @ group.down[k] + group.bdown[k]


def plain_outputs(mmae: MMAE, image: Tokens, text: Tokens, explanation: Tokens) -> dict[str, torch.Tensor]:
    """All experts on B triples, read at the class token and at the end of text: each (K, B, D)."""
    rows = torch.arange(len(image.at))

    def read(group: Experts, x: Tokens, y: Tokens) -> torch.Tensor:
        every = [plain_expert(group, k, x.tokens, y.tokens, y.mask) for k in range(len(group.q))]
        return torch.stack([out[rows, x.at] for out in every])

    return {
        "image": read(mmae.image, image, image),
        "text": read(mmae.text, text, text),
        "shared_image": read(mmae.shared, image, explanation),
        "shared_text": read(mmae.shared, text, explanation),
    }


def plain_gate(gate: torch.nn.Linear, query: torch.Tensor, outputs: list[torch.Tensor]) -> torch.Tensor:
    weights = gate(query).softmax(-1)
    return sum(weights[:, [k]] * out for k, out in enumerate(torch.cat(outputs)))


def tokens(batch: int, length: int, dim: int, *, generator: torch.Generator, padded: bool) -> Tokens:
    lengths = torch.randint(1, length + 1, (batch,), generator=generator) if padded else torch.full((batch,), length)
    x = torch.randn(batch, length, dim, generator=generator, dtype=torch.float64).requires_grad_()
    at = lengths - 1 if padded else torch.zeros(batch, dtype=torch.long)
    return Tokens(x, at, torch.arange(length)[None] < lengths[:, None])


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 5),
    dim=st.sampled_from([4, 8, 12]),
    lengths=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    experts=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 10_000),
)
def test_single_query_form_equals_the_plain_equations_and_their_gradients(
    batch: int, dim: int, lengths: tuple[int, int, int], experts: tuple[int, int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    mmae = MMAE(dim, ExpertConfig(image=experts[0], shared=experts[1], text=experts[2])).double()
    for parameter in mmae.parameters():  # gains and biases too: at 1 and 0 half of the algebra would go untested
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    image = tokens(batch, lengths[0], dim, generator=g, padded=False)
    text, explanation = (tokens(batch, n, dim, generator=g, padded=True) for n in lengths[1:])
    pairs = torch.randint(0, batch, (3 * batch, 2), generator=g)

    attended = mmae(image, text, explanation)
    logits = mmae.match_logits(attended, image, text, explanation, pairs=pairs)
    plain = plain_outputs(mmae, image, text, explanation)
    gated_image = plain_gate(mmae.image_gate, image.pooled(), [plain["image"], plain["shared_image"]])
    gated_text = plain_gate(mmae.text_gate, text.pooled(), [plain["text"], plain["shared_text"]])
    i, j = pairs.unbind(1)
    pair = plain_outputs(mmae, image.rows(i), text.rows(j), explanation.rows(j))
    both = torch.cat([image.pooled()[i], text.pooled()[j]], -1)
    expected = mmae.match(
        plain_gate(mmae.pair_gate, both, [pair[name] for name in ("image", "shared_image", "text", "shared_text")])
    )

    torch.testing.assert_close(attended.gated_image, gated_image, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(attended.gated_text, gated_text, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(logits, expected, atol=1e-10, rtol=1e-10)
    wanted = [*mmae.parameters(), image.tokens, text.tokens, explanation.tokens]

    def gradients(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        total = a.square().sum() + b.square().sum() + F.cross_entropy(c, i % 2)
        return torch.autograd.grad(total, wanted)

    cheap = gradients(attended.gated_image, attended.gated_text, logits)
    full = gradients(gated_image, gated_text, expected)
    for ours, theirs in zip(cheap, full, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-8)


def test_padding_is_never_attended_to() -> None:
    torch.manual_seed(0)
    experts = Experts(3, 8)
    x, keys = torch.randn(2, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    before = experts(x, keys, mask)
    keys[0, 2:] = 1e6
    torch.testing.assert_close(experts(x, keys, mask), before)


@pytest.mark.parametrize("count", [1, 4])
def test_one_output_per_expert(count: int) -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert Experts(count, 8)(torch.randn(2, 8), torch.randn(2, 3, 8), mask).shape == (count, 2, 8)
