from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from entityclip.model.hard_negatives import hard_negatives
from entityclip.model.losses import contrastive, cosine, matching, targets

SCALE = torch.tensor(10.0)


def vtc(
    a: torch.Tensor,
    b: torch.Tensor,
    entities: list[int],
    *,
    scale: torch.Tensor = SCALE,
    smoothing: float = 0.0,
    known: list[bool] | None = None,
) -> torch.Tensor:
    rows = None if known is None else torch.tensor(known)
    to = targets(torch.tensor(entities), dtype=torch.float32, smoothing=smoothing, known=rows)
    return contrastive(scale * cosine(a, b), to)


def vtc_row_by_row(a: torch.Tensor, b: torch.Tensor, entities: list[int], *, smoothing: float) -> torch.Tensor:
    """Every row's cross-entropy on its own, for every positive on its own."""
    cosines = F.cosine_similarity(a[:, None], b[None], dim=-1)
    total, rows = torch.zeros((), dtype=a.dtype), range(len(entities))
    for logits in (SCALE * cosines, SCALE * cosines.T):
        for i in rows:
            surprise = [logits[i].logsumexp(0) - logits[i, j] for j in rows]
            positives = [surprise[j] for j in rows if entities[j] == entities[i]]
            total = total + (1 - smoothing) * sum(positives) / len(positives) + smoothing * sum(surprise) / len(rows)
    return total / (2 * len(rows))


@settings(max_examples=40)
@given(
    entities=st.lists(st.integers(0, 3), min_size=1, max_size=7),
    smoothing=st.sampled_from([0.0, 0.05, 0.5]),
    seed=st.integers(0, 1000),
)
def test_the_contrastive_loss_is_the_cross_entropy_of_every_row_over_its_positives(
    entities: list[int], smoothing: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(len(entities), 6, generator=g).requires_grad_() for _ in range(2))
    ours, plain = vtc(a, b, entities, smoothing=smoothing), vtc_row_by_row(a, b, entities, smoothing=smoothing)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for cheap, full in zip(torch.autograd.grad(ours, [a, b]), torch.autograd.grad(plain, [a, b]), strict=True):
        torch.testing.assert_close(cheap, full, atol=1e-5, rtol=1e-4)


def test_with_distinct_entities_the_loss_is_plain_symmetric_infonce() -> None:
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    logits = SCALE * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    own = torch.arange(5)
    plain = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(vtc(a, b, own.tolist()), plain)


def test_in_bf16_the_logits_keep_their_precision() -> None:
    """CLIP's temperature makes logits of 100, which bf16 rounds to halves: a fifth of the gradient was noise."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 48, 64, generator=g) + 2 * torch.randn(64, generator=g)
    a, b = noise.bfloat16().requires_grad_().unbind()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = vtc(a, b, list(range(48)), scale=torch.tensor(100.0))
    exact = vtc(a, b, list(range(48)), scale=torch.tensor(100.0))
    for ours, wanted in zip(torch.autograd.grad(mixed, [a, b]), torch.autograd.grad(exact, [a, b]), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_a_repeated_caption_is_drawn_together_not_pushed_away() -> None:
    def similarity_after_a_step(entities: list[int]) -> float:
        a = torch.tensor([[1.0, 0.5], [1.0, -0.5], [-1.0, 0.1]], requires_grad=True)
        vtc(a, a.detach(), entities).backward()
        moved = a.detach() - 0.1 * a.grad  # type: ignore[operator]
        return float(F.cosine_similarity(moved[0], moved[1], dim=0))

    assert similarity_after_a_step([0, 0, 1]) > 0.6 > similarity_after_a_step([0, 1, 2])


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7),
    smoothing=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 1000),
)
def test_rows_that_do_not_count_are_as_if_they_were_not_there(
    rows: list[tuple[int, bool]], smoothing: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(len(rows), 6, generator=g).requires_grad_() for _ in range(2))
    known = [counts for _, counts in rows]
    masked = vtc(a, b, [entity for entity, _ in rows], smoothing=smoothing, known=known)
    left = [entity for entity, counts in rows if counts]
    alone = vtc(a[known], b[known], left, smoothing=smoothing) if left else 0 * a.sum()
    torch.testing.assert_close(masked, alone)
    for ours, wanted in zip(
        *(torch.autograd.grad(loss, [a, b], materialize_grads=True) for loss in (masked, alone)), strict=True
    ):
        torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-4)


@settings(max_examples=40)
@given(
    entities=st.lists(st.integers(0, 4), min_size=2, max_size=9),
    draw=st.sampled_from([0.0, 0.5, 1 - 2**-24, 1.0]) | st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_same_entity_is_never_a_negative(entities: list[int], draw: float, seed: int) -> None:
    of = torch.tensor(entities)
    g = torch.Generator().manual_seed(seed)
    similarity = torch.randn(len(of), len(of), generator=g) + 50 * (of[:, None] == of[None])  # the same tempts most
    drawn = hard_negatives(similarity, of, draws=torch.full((len(of), 2), draw))
    assert bool(drawn.found) == (len(set(entities)) > 1)
    for negatives in (drawn.texts, drawn.pictures):
        assert negatives.shape == of.shape
        assert negatives.dtype == torch.long
        assert bool((of[negatives] != of).all()) or not drawn.found


def test_negatives_are_drawn_in_proportion_to_the_softmax_of_the_similarities() -> None:
    """Row i of the similarities draws texts for picture i, column j draws pictures for text j."""
    similarity = torch.tensor([[9.0, 2.0, 0.0, 1.0], [0.0, 9.0, 1.0, 0.0], [1.0, 0.0, 9.0, 3.0], [2.0, 1.0, 0.0, 9.0]])
    count = 3000
    texts, pictures = torch.zeros(4, 4), torch.zeros(4, 4)
    for draws in torch.rand(count, 4, 2, generator=torch.Generator().manual_seed(0)):
        drawn = hard_negatives(similarity, torch.arange(4), draws=draws)
        texts[torch.arange(4), drawn.texts] += 1 / count
        pictures[torch.arange(4), drawn.pictures] += 1 / count
    others = similarity.masked_fill(torch.eye(4, dtype=torch.bool), float("-inf"))
    torch.testing.assert_close(texts, others.softmax(dim=1), atol=0.04, rtol=0)  # four standard errors
    torch.testing.assert_close(pictures, others.T.softmax(dim=1), atol=0.04, rtol=0)


def test_a_share_of_the_rows_gets_the_negatives_that_it_has_in_the_whole_batch() -> None:
    similarity, draws = torch.randn(6, 6), torch.rand(6, 2)
    whole = hard_negatives(similarity, torch.arange(6), draws=draws)
    part = hard_negatives(similarity, torch.arange(6), draws=draws[2:5], first=2)
    assert part.texts.tolist() == whole.texts[2:5].tolist()
    assert part.pictures.tolist() == whole.pictures[2:5].tolist()


def test_the_draw_carries_no_gradient() -> None:
    drawn = hard_negatives(torch.randn(6, 6, requires_grad=True), torch.arange(6), draws=torch.rand(6, 2))
    assert not any(n.requires_grad for n in drawn)


def test_matching_is_the_mean_of_the_cross_entropies_that_count_column_one_says_match() -> None:
    logits = torch.randn(15, 2, generator=torch.Generator().manual_seed(0))
    true = torch.arange(15) < 5
    wanted = [-logits[:5].log_softmax(1)[:, 1].mean()]
    wanted += [-wrong.log_softmax(1)[:, 0].mean() for wrong in logits[5:].split(5)]
    every = torch.ones(15, dtype=torch.bool)
    torch.testing.assert_close(matching(logits, true=true, counted=every), torch.stack(wanted).mean())
    torch.testing.assert_close(matching(logits, true=true, counted=true), wanted[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_single_row_has_no_negatives(smoothing: float) -> None:
    assert float(vtc(torch.randn(1, 4), torch.randn(1, 4), [7], smoothing=smoothing)) == 0
