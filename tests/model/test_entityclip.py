from __future__ import annotations

import pytest
import torch

from entityclip.model.entityclip import Batch, EntityCLIP, LossConfig, ModelConfig
from entityclip.model.mmae import ExpertConfig
from entityclip.model.towers import TowerConfig
from entityclip.text import Tokenisation

TEXTS = ["a red kettle", "a blue lamp", "a green chair"]


@pytest.fixture
def model() -> EntityCLIP:
    torch.manual_seed(0)
    towers = TowerConfig(architecture="entityclip-tiny", mean_pool=True)
    return EntityCLIP(ModelConfig(towers=towers, experts=ExpertConfig(image=1, shared=2, text=3)))


def batch(entities: list[int], *, explained: bool = True) -> Batch:
    read = Tokenisation(context=16).load()
    of = torch.tensor(entities)
    explanations = read([f"here is {text}" if explained else "" for text in TEXTS])
    pictures = torch.randn(len(of), 3, 64, 64, generator=torch.Generator().manual_seed(1))
    known = torch.full((len(of),), explained)
    return Batch(pictures, read(TEXTS), of, explanations, of, known, of)


def losses(model: EntityCLIP, batch: Batch, **weights: float) -> dict[str, float]:
    terms = model.losses(batch, config=LossConfig(**weights), generator=torch.Generator().manual_seed(0))
    return {name: float(term.detach()) for name, term in terms.items()}


def test_the_loss_is_the_weighted_sum_of_its_terms(model: EntityCLIP) -> None:
    got = losses(model, batch([0, 1, 2, 1]), explanation=0.7, beta=0.3, eta=0.2)
    expected = got["vtc"] + 0.7 * got["explanation"] + 0.3 * got["mmae"] + 0.2 * got["itm"]
    assert got["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_term_of_weight_zero_is_not_computed(model: EntityCLIP) -> None:
    assert losses(model, batch([0, 1, 2]), explanation=0, beta=0, eta=0).keys() == {"vtc", "loss"}


def test_rows_without_explanation_have_no_explanation_term(model: EntityCLIP) -> None:
    got = losses(model, batch([0, 1, 2], explained=False))
    assert "explanation" not in got
    assert got["loss"] == pytest.approx(got["vtc"] + 0.1 * got["mmae"] + 0.1 * got["itm"], rel=1e-5)


def test_a_batch_of_one_entity_is_matched_without_negatives(model: EntityCLIP) -> None:
    got = losses(model, batch([1, 1, 1]))
    assert all(value == value for value in got.values())
    assert got["itm"] > 0


def test_every_weight_gets_a_gradient(model: EntityCLIP) -> None:
    with torch.no_grad():
        for parameter in model.parameters():  # a ResNet starts with its blocks switched off
            parameter.add_(0.02 * torch.randn_like(parameter))
    terms = model.losses(batch([0, 1, 2, 0]), config=LossConfig(), generator=torch.Generator().manual_seed(0))
    terms["loss"].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
