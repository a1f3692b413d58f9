from __future__ import annotations

import torch
from torch.nn import functional as F

from entityclip.model.losses import contrastive, hard_negatives, matching, targets_by_entity

SCALE = torch.tensor(10.0)


def test_rows_of_one_entity_are_positives_of_each_other() -> None:
    targets = targets_by_entity(torch.tensor([0, 1, 0]))
    torch.testing.assert_close(targets, torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]]))


def test_with_distinct_entities_the_loss_is_plain_symmetric_infonce() -> None:
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    logits = SCALE * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    own = torch.arange(5)
    plain = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    ours = contrastive(a, b, scale=SCALE, targets=targets_by_entity(own))
    torch.testing.assert_close(ours, plain)


def test_a_repeated_caption_is_drawn_together_not_pushed_away() -> None:
    def similarity_after_a_step(entities: list[int]) -> float:
        a = torch.tensor([[1.0, 0.5], [1.0, -0.5], [-1.0, 0.1]], requires_grad=True)
        contrastive(a, a.detach(), scale=SCALE, targets=targets_by_entity(torch.tensor(entities))).backward()
        moved = a.detach() - 0.1 * a.grad  # type: ignore[operator]
        return float(F.cosine_similarity(moved[0], moved[1], dim=0))

    assert similarity_after_a_step([0, 0, 1]) > 0.6 > similarity_after_a_step([0, 1, 2])


def test_same_entity_is_never_a_negative() -> None:
    entities = torch.tensor([0, 0, 0, 1, 1, 2])
    similarity = torch.randn(6, 6) + 50 * (entities[:, None] == entities[None])  # the same entity tempts most
    for seed in range(30):
        drawn = hard_negatives(similarity, entities, generator=torch.Generator().manual_seed(seed))
        assert drawn is not None
        texts, pictures = drawn
        assert bool((entities[texts] != entities).all())
        assert bool((entities[pictures] != entities).all())


def test_harder_negatives_are_drawn_more_often() -> None:
    similarity = torch.tensor([[0.0, 3.0, -3.0]] * 3)
    g = torch.Generator().manual_seed(0)
    drawn = [hard_negatives(similarity, torch.arange(3), generator=g)[0][0] for _ in range(200)]  # type: ignore[index]
    assert sum(int(d) == 1 for d in drawn) > 180


def test_a_batch_of_a_single_entity_has_no_negative() -> None:
    assert hard_negatives(torch.randn(4, 4), torch.zeros(4, dtype=torch.long)) is None


def test_matching_is_the_mean_over_kinds_of_pairs() -> None:
    yes, no = torch.tensor([[-9.0, 9.0]]), torch.tensor([[9.0, -9.0]])
    assert float(matching(yes, no, no)) < 1e-6
    assert float(matching(yes, yes, no)) > 5
    assert float(matching(yes)) < 1e-6
