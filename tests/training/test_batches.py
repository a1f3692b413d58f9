from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_data

from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.model.entityclip import Batch
from entityclip.training import TrainConfig, batches
from entityclip.training.batches import Preparation, PreparedBatch, TrainingSet
from entityclip.training.schedule import Steps
from entityclip.training.siblings import nearest_siblings

STILL = Augmentation(crop=1, rotate=0, flip=False, light=0, saturation=0)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    data = tiny_data(tmp_path_factory.mktemp("data"))
    return batches.load_training_set(data, preprocessing=Preprocessing(size=32), progress=False)


def make(training: TrainingSet, rows: list[int], *, seed: int = 0, augmentation: Augmentation = STILL) -> Batch:
    prepared = batches.prepare_batch(
        training,
        np.array(rows),
        Preparation(Tokenisation(context=24).load(), augmentation),
        generator=torch.Generator().manual_seed(seed),
    )
    return prepared.batch(preprocessing=Preprocessing(size=32), device="cpu")


def test_names_are_masked_in_the_explanations_that_train(training: TrainingSet) -> None:
    texts = [text for of_entity in training.explanations for text in of_entity]
    assert len(texts) == 4  # of the entities that have training pictures
    assert all("this product" in text and "KX-" not in text for text in texts)


def test_names_stay_where_masking_is_off(tmp_path: Path) -> None:
    unmasked = batches.load_training_set(
        tiny_data(tmp_path), preprocessing=Preprocessing(size=32), mask=False, progress=False
    )
    assert all("KX-" in text for of_entity in unmasked.explanations for text in of_entity)


class AnyOrder:
    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002
        return rows


def order(entities: list[int], *, batch: int, balance: float = 0, epoch: int = 0) -> list[np.ndarray]:
    texts = [["text"]] * (max(entities) + 1)
    data = TrainingSet(AnyOrder(), np.array(entities), np.array(entities, dtype=str), texts, texts)  # type: ignore[arg-type]
    return batches.order(data, batch=batch, balance=balance, epoch=epoch, seed=0)


def test_every_epoch_sees_every_pair_once_in_another_order() -> None:
    first, second = (np.concatenate(order([0] * 16, batch=4, epoch=e)) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(16))
    assert first.tolist() != second.tolist()


def test_a_last_batch_too_small_to_contrast_is_dropped() -> None:
    assert [len(rows) for rows in order([0] * 17, batch=8)] == [8, 8]
    assert [len(rows) for rows in order([0] * 20, batch=8)] == [8, 8, 4]
    assert [len(rows) for rows in order([0] * 3, batch=8)] == [3]


def test_balance_draws_rare_entities_more_often() -> None:
    entities = [0] * 900 + [1] * 100
    share = [np.mean(np.array(entities)[np.concatenate(order(entities, batch=50, balance=b))]) for b in (0, 0.5, 1)]
    np.testing.assert_allclose(share, [0.1, 0.25, 0.5], atol=0.05)


def test_siblings_stand_side_by_side_and_every_pair_still_comes_once() -> None:
    entities = np.arange(400) % 100
    texts = [[f"{'red' if number < 50 else 'blue'} kettle {number % 25}"] for number in range(100)]
    siblings = nearest_siblings(texts, ["kettle"] * 50 + ["lamp"] * 50)
    assert (siblings[:50] < 50).all()
    assert (siblings[50:] >= 50).all()
    data = TrainingSet(AnyOrder(), entities, entities.astype(str), texts, texts, siblings)  # type: ignore[arg-type]
    plain, again, near = (
        batches.order(data, batch=40, balance=0, siblings=share, epoch=0, seed=0) for share in (0, 0.5, 0.5)
    )
    assert all(np.array_equal(a, b) for a, b in zip(again, near, strict=True))
    assert sorted(np.concatenate(near)) == list(range(400))
    assert np.array_equal(np.concatenate(plain), np.concatenate(order(entities.tolist(), batch=40)))

    def beside(cut: list[np.ndarray]) -> float:
        row = entities[np.concatenate(cut)]
        return float(np.mean([b in siblings[a] for a, b in pairwise(row)]))

    assert beside(near) > 3 * beside(plain)


def test_texts_that_share_nothing_are_no_siblings() -> None:
    assert (nearest_siblings([["abc"], ["xyz"], []], ["", "", ""]) == -1).all()
    assert nearest_siblings([["abc"], ["abd"], []], ["", "", ""])[:2, 0].tolist() == [1, 0]


def test_siblings_come_from_the_entity_table_and_the_explanations(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    known = batches.load_training_set(data, preprocessing=Preprocessing(size=32), progress=False)
    known = batches.with_siblings(known, data)
    assert known.siblings is not None
    assert sorted(known.siblings[0][:3]) == [1, 2, 3]  # one category, four entities with training pictures


def test_the_same_seed_makes_the_same_batch(training: TrainingSet) -> None:
    once, again = (make(training, [0, 5, 9], augmentation=Augmentation()) for _ in range(2))
    other = make(training, [0, 5, 9], seed=1, augmentation=Augmentation())
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once.pictures, other.pictures)


def test_without_augmentation_a_picture_is_what_evaluation_sees(training: TrainingSet) -> None:
    expected = Preprocessing(size=32).normalise(training.pictures.read(np.array([0, 11])))
    torch.testing.assert_close(make(training, [0, 11]).pictures, expected, atol=2e-3, rtol=0)


def test_rows_of_one_entity_share_one_text(training: TrainingSet) -> None:
    batch = make(training, [0, 1, 2, 15])
    assert len(batch.captions) == 2
    assert batch.caption_of.tolist() == [0, 0, 0, 1]
    assert batch.entities[0] == batch.entities[2] != batch.entities[3]


def test_an_entity_without_explanation_is_marked(training: TrainingSet) -> None:
    bare = TrainingSet(
        training.pictures, training.entities, training.pair_ids, training.captions, [[] for _ in training.captions]
    )
    batch = make(bare, [0, 15])
    assert not batch.explained.any()
    assert (batch.explanations != 0).any(dim=1).all()  # start and end marks: never nothing to attend to


@pytest.mark.parametrize("size", [16, 32, 40])
def test_augmentation_keeps_the_range_of_pictures(training: TrainingSet, size: int) -> None:
    squares = training.pictures.read(np.arange(len(training)))
    draws = torch.rand(len(squares), batches.DRAWS, generator=torch.Generator().manual_seed(0))
    varied = batches.augment(squares, draws, size=size, config=Augmentation(crop=0.1, rotate=45))
    assert varied.shape[2:] == (size, size)
    assert float(varied.min()) >= 0
    assert float(varied.max()) <= 255


@pytest.mark.parametrize("processes", [2, 3])
def test_the_shares_of_the_processes_are_the_whole_batch(training: TrainingSet, processes: int) -> None:
    rows = np.array([0, 5, 9, 15, 2, 7])

    def prepared(share: slice) -> PreparedBatch:
        generator = torch.Generator().manual_seed(3)
        how = Preparation(Tokenisation(context=24).load(), Augmentation())
        return batches.prepare_batch(training, rows, how, generator=generator, share=share)

    whole, each = prepared(slice(None)), len(rows) // processes
    shares = [prepared(slice(i * each, (i + 1) * each)) for i in range(processes)]
    for field in ("squares", "crops", "light", "explained", "entities", "negatives"):
        assert torch.equal(torch.cat([getattr(share, field) for share in shares]), getattr(whole, field))
    for texts, of in (("captions", "caption_of"), ("explanations", "explanation_of")):
        by_row = torch.cat([getattr(share, texts)[getattr(share, of)] for share in shares])
        assert torch.equal(by_row, getattr(whole, texts)[getattr(whole, of)])


@pytest.mark.parametrize(("flip", "mirrored"), [(None, 0), (True, 32)])
def test_pictures_are_mirrored_only_where_the_setting_is_on(flip: bool | None, mirrored: int) -> None:
    config = STILL.model_copy(update={"flip": Augmentation().flip if flip is None else flip})
    squares = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    squares[..., :4] = 255  # the left half
    draws = torch.linspace(0, 0.99, 64)[:, None].expand(64, batches.DRAWS)
    varied = batches.augment(squares, draws, size=8, config=config)
    assert int((varied[:, 0, 0, -1] > 200).sum()) == pytest.approx(mirrored, abs=1)


def test_a_gpu_and_compiled_towers_get_texts_of_few_lengths_and_the_same_tokens(training: TrainingSet) -> None:
    config = TrainConfig(preprocessing=Preprocessing(size=32), tokenisation=Tokenisation(context=24), batch=8)
    on_cpu, *padded = (
        Steps(config.changed(**change), training)[0] for change in ({}, {"compile": True}, {"device": "cuda"})
    )
    for kind in ("captions", "explanations"):
        exact = getattr(on_cpu, kind)
        for ids in (getattr(prepared, kind) for prepared in padded):
            assert exact.shape[1] not in (16, 24)  # else this test says nothing
            assert ids.shape[1] in (16, 24)
            assert torch.equal(ids[: len(exact), : exact.shape[1]], exact)
            assert not ids[:, exact.shape[1] :].any()


def test_with_few_shapes_every_step_has_as_many_texts_and_every_row_its_own(training: TrainingSet) -> None:
    config = TrainConfig(preprocessing=Preprocessing(size=32), tokenisation=Tokenisation(context=24), batch=4, epochs=2)
    exact, padded = Steps(config, training), Steps(config.changed(compile=True), training)
    counts = [len(step.captions) for step in exact]
    assert len(set(counts)) > 1  # else this test says nothing
    for plain, step, count in zip(exact, padded, counts, strict=True):
        for kind, of in (("captions", "caption_of"), ("explanations", "explanation_of")):
            ids, whole = getattr(plain, kind), getattr(step, kind)
            assert len(whole) == max(counts)
            assert torch.equal(whole[:count, : ids.shape[1]], ids)
            assert torch.equal(getattr(step, of), getattr(plain, of))
            assert not len(whole[count:]) or (whole[count:] == whole[count - 1]).all()
        assert torch.equal(step.explained, plain.explained)
