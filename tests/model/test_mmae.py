"""The single-query form against the same equations written out plainly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lib.reference_model import PlainExpert, PlainMMAE, as_plain
from entityclip.model.config import ExpertConfig
from entityclip.model.mmae import MMAE, Experts
from entityclip.model.tokens import TowerOutput


class Case(NamedTuple):
    """Sizes of a comparison; weights, tokens, masks and pairs follow from the seed."""

    batch: int
    dim: int
    lengths: tuple[int, int, int]  # of image, text, explanation
    experts: ExpertConfig
    seed: int
    gathered: bool  # the outputs of the true pairs are not computed again


counts = st.tuples(*[st.integers(0, 3)] * 3).filter(lambda n: n[0] + n[1] > 0 and n[2] + n[1] > 0)
cases = st.builds(
    Case,
    batch=st.integers(1, 5),
    dim=st.sampled_from([7, 8, 12]),
    lengths=st.tuples(*[st.integers(1, 6)] * 3),
    experts=counts.map(lambda n: ExpertConfig(image=n[0], shared=n[1], text=n[2])),
    seed=st.integers(0, 10_000),
    gathered=st.booleans(),
)


def random_mmae(dim: int, experts: ExpertConfig, *, dtype: torch.dtype, generator: torch.Generator) -> MMAE:
    """Gains and biases are random too: at 1 and 0 half of the algebra would go untested."""
    mmae = MMAE(dim, experts).to(dtype)
    for parameter in mmae.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
        parameter.requires_grad_()
    return mmae


def random_tokens(batch: int, length: int, dim: int, *, dtype: torch.dtype, generator: torch.Generator) -> TowerOutput:
    """Any position may be the one that is read, any others may be masked."""
    at = torch.randint(0, length, (batch,), generator=generator)
    mask = torch.rand(batch, length, generator=generator) < 0.6
    mask[torch.arange(batch), at] = True
    return TowerOutput(torch.randn(batch, length, dim, generator=generator, dtype=dtype).requires_grad_(), at, mask)


def plain_form(mmae: MMAE, *, generator: torch.Generator) -> PlainMMAE:
    """With keys' biases that the fast form does not have: nothing may depend on them."""
    plain = PlainMMAE(mmae)
    for expert in plain.modules():
        if isinstance(expert, PlainExpert):
            of_keys = expert.attention.in_proj_bias.data.chunk(3)[1]
            of_keys.copy_(torch.randn(of_keys.shape, generator=generator, dtype=of_keys.dtype))
    return plain


def assert_agree(ours: torch.Tensor, plain: torch.Tensor, *, within: float, scale: float = 0.0) -> None:
    """No entry differs by more than ``within`` of the tensor's largest entry, or of ``scale`` if that is larger."""
    assert ours.shape == plain.shape
    if ours.numel():
        largest = max(float(plain.detach().abs().max()), scale)
        assert float((ours - plain).detach().abs().max()) <= within * largest


def assert_same_numbers(case: Case, *, dtype: torch.dtype, within: float) -> None:
    g = torch.Generator().manual_seed(case.seed)
    mmae = random_mmae(case.dim, case.experts, dtype=dtype, generator=g)
    plain = plain_form(mmae, generator=g)
    inputs = [random_tokens(case.batch, n, case.dim, dtype=dtype, generator=g) for n in case.lengths]
    image, text, explanation = inputs
    own, others = torch.arange(case.batch), torch.randint(0, case.batch, (2 * case.batch, 2), generator=g)
    pairs = torch.cat([torch.stack([own, own], dim=1), others])
    i, j = pairs.unbind(dim=1)

    attended = mmae(image, text, explanation)
    ours = [
        attended.gated_image,
        attended.gated_text,
        mmae.match_logits(attended, explanation, pairs=pairs, true=case.gathered * case.batch),
    ]
    theirs = [
        *plain(image, text, explanation)[:2],
        plain(image.rows(i), text.rows(j), explanation.rows(j))[2],
    ]
    for a, b in zip(ours, theirs, strict=True):
        assert_agree(a, b, within=within)

    directions = [torch.randn(out.shape, generator=g, dtype=dtype) for out in ours]
    tokens = {f"tokens {n}": side.tokens for n, side in enumerate(inputs)}

    def gradients(
        outputs: Iterable[torch.Tensor], weights: Iterable[tuple[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        wanted = tokens | dict(weights)
        total = torch.stack([(out * way).sum() for out, way in zip(outputs, directions, strict=True)]).sum()
        found = torch.autograd.grad(total, list(wanted.values()), materialize_grads=True)  # no shared expert: zeros
        return dict(zip(wanted, found, strict=True))

    cheap, full = as_plain(gradients(ours, mmae.named_parameters())), gradients(theirs, plain.named_parameters())
    assert cheap.keys() == full.keys()
    largest = max(float(gradient.abs().max()) for gradient in full.values())
    for name in full:
        assert_agree(cheap[name], full[name], within=within, scale=1e-2 * largest)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases)
def test_in_float64_outputs_and_all_gradients_are_those_of_the_plain_equations(case: Case) -> None:
    assert_same_numbers(case, dtype=torch.float64, within=1e-10)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases)
def test_in_float32_they_agree_to_one_part_in_ten_thousand(case: Case) -> None:
    assert_same_numbers(case, dtype=torch.float32, within=1e-4)


def test_padding_is_never_attended_to() -> None:
    g = torch.Generator().manual_seed(0)
    mmae = random_mmae(8, ExpertConfig(image=1, shared=2, text=3), dtype=torch.float32, generator=g)
    inputs = [random_tokens(4, 5, 8, dtype=torch.float32, generator=g) for _ in range(3)]
    pairs = torch.tensor([[0, 0], [1, 3], [2, 1]])
    disturbed = [side._replace(tokens=side.tokens.masked_fill(~side.mask[:, :, None], 1e6)) for side in inputs]
    before, after = ((a := mmae(*given), mmae.match_logits(a, given[2], pairs=pairs)) for given in (inputs, disturbed))
    assert not all(bool(side.mask.all()) for side in inputs)
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("counts", [(0, 0, 3), (3, 0, 0), (0, 0, 0)])
def test_a_side_without_any_expert_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"image=\d, shared=0, text=\d"):
        ExpertConfig(image=counts[0], shared=counts[1], text=counts[2])


@pytest.mark.parametrize("count", [0, 1, 4])
def test_one_output_per_expert(count: int) -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert Experts(count, 8)(torch.randn(2, 8), torch.randn(2, 3, 8), mask).shape == (count, 2, 8)
