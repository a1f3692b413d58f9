from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.lib.reference_model import PlainMMAE, as_plain, plain_losses
from entityclip.data.text import Tokenisation
from entityclip.model.config import ExpertConfig, LossConfig, ModelConfig, TowerConfig
from entityclip.model.entityclip import Batch, EntityCLIP

TEXTS = ["a red kettle", "a blue lamp", "a green chair with three legs", "KX-204B", "sour cream of the north"]
READ = Tokenisation(context=16).load()


def new_model(experts: ExpertConfig, *, seed: int = 0) -> EntityCLIP:
    torch.manual_seed(seed)
    towers = TowerConfig(architecture="entityclip-tiny", mean_pool=True)
    model = EntityCLIP(ModelConfig(towers=towers, experts=experts))
    with torch.no_grad():
        for parameter in model.parameters():  # a ResNet starts with its blocks switched off
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture
def model() -> EntityCLIP:
    return new_model(ExpertConfig(image=1, shared=2, text=3))


def batch(
    entities: list[int],
    *,
    explained: list[bool] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Batch:
    """Row i shows entity ``entities[i]``; its caption and explanation are rows of the distinct texts."""
    of = torch.tensor(entities)
    known = torch.tensor(explained or [True] * len(entities))
    explanations = READ([f"here is {text}" for text in TEXTS] + [""])
    pictures = torch.randn(len(of), 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=dtype)
    draws = torch.rand(len(of), 2, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures, READ(TEXTS), of, explanations, torch.where(known, of, len(TEXTS)), known, of, draws)


def losses(model: EntityCLIP, batch: Batch, **weights: float) -> dict[str, float]:
    terms = model.losses(batch, config=LossConfig(**weights))
    return {name: float(term.detach()) for name, term in terms.items()}


rows = st.lists(st.tuples(st.integers(0, len(TEXTS) - 1), st.booleans()), min_size=1, max_size=6)
loss_configs = st.builds(
    LossConfig,
    explanation=st.sampled_from([0.0, 1.0]),
    beta=st.sampled_from([0.0, 0.1]),
    eta=st.sampled_from([0.0, 0.3]),
    smoothing=st.sampled_from([0.0, 0.05]),
)
experts = st.builds(ExpertConfig, image=st.integers(0, 2), shared=st.integers(1, 2), text=st.integers(0, 2))


@pytest.mark.slow
@settings(max_examples=15)
@example(rows=[(n, True) for n in range(len(TEXTS))], config=LossConfig(eta=1), experts=ExpertConfig(), seed=0)
@example(rows=[(0, True), (0, True), (1, False)], config=LossConfig(smoothing=0.05), experts=ExpertConfig(), seed=0)
@given(rows=rows, config=loss_configs, experts=experts, seed=st.integers(0, 1000))
def test_the_whole_loss_and_every_gradient_are_those_of_the_plain_equations(
    rows: list[tuple[int, bool]], config: LossConfig, experts: ExpertConfig, seed: int
) -> None:
    model = new_model(experts, seed=seed).double()
    model.logit_scale.data.fill_(4.0)  # at the first temperature all negatives are about as hard
    plain = PlainMMAE(model.mmae)
    explained = [known for _, known in rows]
    given = batch([entity for entity, _ in rows], explained=explained, dtype=torch.float64, seed=seed)
    ours = model.losses(given, config=config)
    theirs = plain_losses(model, plain, given, config=config)
    for name, term in ours.items():  # the plain form has no term where nothing is explained
        torch.testing.assert_close(term, theirs.get(name, torch.zeros_like(term)), atol=1e-10, rtol=1e-10, msg=name)

    towers = {name: p for name, p in model.named_parameters() if not name.startswith("mmae.")}
    cheap = gradients(ours["loss"], towers | dict(model.mmae.named_parameters()))
    full = gradients(theirs["loss"], towers | dict(plain.named_parameters()))
    cheap = {name: cheap[name] for name in towers} | as_plain({n: cheap[n] for n, _ in model.mmae.named_parameters()})
    assert cheap.keys() == full.keys()
    for name in full:
        torch.testing.assert_close(cheap[name], full[name], atol=1e-10, rtol=1e-10, msg=name)


def gradients(loss: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of the loss, by name; zeros where it does not reach."""
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), materialize_grads=True), strict=True))


def test_every_weight_gets_a_gradient(model: EntityCLIP) -> None:
    terms = model.losses(batch([0, 1, 2, 0]), config=LossConfig())
    terms["loss"].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_the_loss_is_the_weighted_sum_of_its_terms(model: EntityCLIP) -> None:
    got = losses(model, batch([0, 1, 2, 1]), explanation=0.7, beta=0.3, eta=0.2)
    expected = got["vtc"] + 0.7 * got["explanation"] + 0.3 * got["mmae"] + 0.2 * got["itm"]
    assert got["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_term_of_weight_zero_is_not_computed(model: EntityCLIP) -> None:
    assert losses(model, batch([0, 1, 2]), explanation=0, beta=0, eta=0).keys() == {"vtc", "loss"}
    assert losses(model, batch([0, 1, 2]), eta=0).keys() == {"vtc", "explanation", "mmae", "loss"}


def test_the_explanation_term_is_that_of_the_explained_rows_alone(model: EntityCLIP) -> None:
    model.eval()  # in training, batch norm lets the rows see each other
    some = batch([0, 1, 2, 1], explained=[True, False, False, True])
    alone = some._replace(pictures=some.pictures[[0, 3]], entities=some.entities[[0, 3]])
    alone = alone._replace(caption_of=some.caption_of[[0, 3]], explanation_of=some.explanation_of[[0, 3]])
    alone = alone._replace(explained=some.explained[[0, 3]], draws=some.draws[[0, 3]])
    assert losses(model, some)["explanation"] == pytest.approx(losses(model, alone)["explanation"], rel=1e-5)


def test_without_any_explanation_the_explanation_term_is_nothing(model: EntityCLIP) -> None:
    got = losses(model, batch([0, 1, 2], explained=[False] * 3))
    assert got["explanation"] == 0
    assert got["loss"] == pytest.approx(got["vtc"] + 0.1 * got["mmae"] + 0.1 * got["itm"], rel=1e-5)


def test_one_explained_row_has_no_negatives(model: EntityCLIP) -> None:
    got = losses(model, batch([0, 1, 2], explained=[False, True, False]))
    assert got["explanation"] == 0
    assert all(value == value for value in got.values())


@pytest.mark.parametrize("entities", [[1, 1, 1], [2]])
def test_a_batch_of_one_entity_is_matched_without_negatives(model: EntityCLIP, entities: list[int]) -> None:
    got = losses(model, batch(entities))
    assert all(value == value for value in got.values())
    assert got["itm"] > 0


@pytest.mark.parametrize(("padded", "passes"), [(True, 1), (False, 2)])
def test_texts_of_one_length_go_through_the_tower_in_one_pass_and_give_the_same(
    model: EntityCLIP, padded: bool, passes: int
) -> None:
    given = batch([0, 1, 2, 0])
    length = given.explanations.shape[1] if padded else given.captions.shape[1] + 1
    captions = torch.nn.functional.pad(given.captions, (0, length - given.captions.shape[1]))
    seen: list[int] = []
    model.blocks()[1][0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        read = model.read(given._replace(captions=captions), config=LossConfig())
        assert len(seen) == passes
        for found, ids in ((read.captions, given.captions), (read.explanations, given.explanations)):
            assert found is not None
            torch.testing.assert_close(found.pooled(), model.text_tokens(ids).pooled(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("precision", "of_terms", "of_gradients"), [("float32", 1e-6, 1e-5), ("bf16", 1e-3, 3e-2)])
@pytest.mark.parametrize("length", [16, 32, 77])
def test_longer_padding_of_the_texts_changes_neither_loss_nor_gradients(
    model: EntityCLIP, precision: str, of_terms: float, of_gradients: float, length: int
) -> None:
    given = batch([0, 1, 2, 3, 4, 0], explained=[True] * 5 + [False])
    captions, explanations = (
        torch.nn.functional.pad(ids, (0, length - ids.shape[1])) for ids in (given.captions, given.explanations)
    )
    found = []
    for texts in ((given.captions, given.explanations), (captions, explanations)):
        model.zero_grad()
        padded = given._replace(captions=texts[0], explanations=texts[1])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            terms = model.losses(padded, config=LossConfig())
        terms["loss"].backward()
        learned = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append({name: term.detach() for name, term in terms.items()} | learned)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        scale = float(value.abs().max())
        difference = float((found[1][name] - value).abs().max())
        tolerance = of_terms if value.ndim == 0 and name in terms else of_gradients
        assert difference <= tolerance * max(scale, 1e-2), f"{name}: {difference} of {scale}"


def test_the_temperature_stops_at_a_hundred(model: EntityCLIP) -> None:
    given, found = batch([0, 1, 2, 0]), []
    for logit in (math.log(100), 20.0):
        model.logit_scale.data.fill_(logit)
        found.append(losses(model, given))
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_in_bf16_the_loss_is_the_same_to_a_few_percent(model: EntityCLIP) -> None:
    given = batch([0, 1, 2, 0])
    exact = losses(model, given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.losses(given, config=LossConfig())
    assert float(terms["loss"].detach()) == pytest.approx(exact["loss"], rel=0.05)
    terms["loss"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
def test_the_same_batch_gives_the_same_gradients_again(model: EntityCLIP) -> None:
    """With long texts and many rows: sums of less are not spread over threads, and their order cannot change."""
    many = [number % len(TEXTS) for number in range(64)]
    small = batch(many)
    long = torch.randint(1, 49000, (len(TEXTS) + 1, 77))
    long[:, -1] = 49407
    whole = small._replace(captions=long[:-1], explanations=long)
    threads, seen = torch.get_num_threads(), set()
    torch.set_num_threads(4)
    try:
        for _ in range(12):
            model.zero_grad()
            terms = model.losses(whole, config=LossConfig(eta=1.0))
            terms["loss"].backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            seen.add(sha256(b"".join(g.numpy().tobytes() for g in gradients)).hexdigest())
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1
