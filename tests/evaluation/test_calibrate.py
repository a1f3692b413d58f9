"""Calibration on indexes whose best answer is known."""

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.evaluation.calibrate import (
    CHOICES,
    LENGTHS,
    WEIGHTS,
    calibrate,
    calibrate_index,
    calibrate_mix,
    calibrate_thresholds,
    likelihood_grid,
    mixed_similarities,
    proven_share,
)
from entityclip.retrieval import metrics
from entityclip.retrieval.index import DEFAULT_MIX, EntityIndex, PictureIndex
from entityclip.retrieval.tagging import PRECISIONS, TAGS
from entityclip.retrieval.vectors import best, shares, unit
from entityclip.schemas import SLICES

SCALE = 20.0
BLUR = {"frequent": (0.3, 3.0), "few": (1.0, 1.0), "one": (1.5, 1.0), "none": (4.0, 0.3)}
"""How far caption and explanation are off: the name says most about the frequent, the explanation about the others."""


def indexes(
    *, noise: float, seed: int = 0, slices: tuple[str, ...] = SLICES, each: int = 2
) -> tuple[EntityIndex, PictureIndex]:
    """60 entities with so many pictures each."""
    rng = np.random.default_rng(seed)
    true = unit(rng.normal(size=(60, 24)))
    names = np.resize(slices, 60)
    caption, explanation = (
        unit(true + rng.normal(size=true.shape) * np.array([[BLUR[n][i] * noise] for n in names])) for i in (0, 1)
    )
    rows = pd.DataFrame({"entity_id": [f"e{i}" for i in range(60)], "slice": names})
    entities = EntityIndex("m", rows, {"caption": caption, "explanation": explanation}, {}).remixed({})
    seen = unit(np.repeat(true, each, axis=0) + noise * rng.normal(size=(60 * each, 24)))
    pictures = pd.DataFrame({"entity_id": np.repeat(rows["entity_id"], each)}).reset_index(drop=True)
    return entities, PictureIndex("m", pictures, seen)


def halves(pictures: PictureIndex) -> tuple[PictureIndex, PictureIndex]:
    """Every other picture; the entities have an even number each."""
    even, odd = (
        PictureIndex("m", pictures.rows[i::2].reset_index(drop=True), pictures.vectors[i::2]) for i in range(2)
    )
    return even, odd


def recalls(entities: EntityIndex, pictures: PictureIndex, *, index: str = "mixed") -> np.ndarray:
    """Recall@1 of each slice, in percent."""
    truth = entities.rows_of(pictures.rows["entity_id"])
    hit = metrics.ranks(pictures.vectors, entities.vectors[index], truth).rank == 1
    of = entities.rows["slice"].to_numpy()[truth]
    return np.array([100 * hit[of == name].mean() for name in SLICES])


def test_mix_is_no_worse_in_any_slice_than_the_better_single_index():
    gains = []
    for seed in range(8):
        entities, pictures = indexes(noise=0.25, seed=seed, each=24)
        known, unknown = halves(pictures)
        mixed = calibrate_index(entities, known, scale=SCALE)
        single = np.maximum(*(recalls(entities, unknown, index=kind) for kind in ("caption", "explanation")))
        gains.append(recalls(mixed, unknown) - single)
    assert np.mean(gains, axis=0).min() > -1
    assert np.mean(gains) > 1
    unmixed = recalls(entities, unknown, index="caption"), recalls(entities, unknown, index="explanation")
    assert min(each.min() for each in unmixed) < 50  # each of the two fails somewhere


def test_each_slice_leans_to_the_text_that_describes_it():
    mix, _ = calibrate_mix(*indexes(noise=0.2, each=10), scale=SCALE)
    assert mix["frequent"] < 0.5 < mix["none"]


def test_slice_without_pictures_keeps_its_default():
    mix, slice_scale = calibrate_mix(*indexes(noise=0.2, slices=("frequent", "few")), scale=SCALE)
    assert (mix["one"], mix["none"]) == (DEFAULT_MIX["one"], DEFAULT_MIX["none"])
    assert (slice_scale["one"], slice_scale["none"]) == (1, 1)


def test_worthless_explanations_weigh_nothing():
    entities, pictures = indexes(noise=0.05, each=6)
    noise = unit(np.random.default_rng(1).normal(size=(60, 24)))
    entities = EntityIndex("m", entities.rows, entities.vectors | {"explanation": noise}, {})
    assert max(calibrate_mix(entities, pictures, scale=SCALE)[0].values()) <= 0.2


def test_never_photographed_entity_is_not_at_a_disadvantage_for_being_unmixed():
    entities, _ = indexes(noise=0.5)
    lengths = np.linalg.norm(entities.vectors["mixed"], axis=1)
    halfway = (entities.vectors["caption"] + entities.vectors["explanation"])[entities.rows["slice"] == "few"] / 2
    assert lengths[entities.rows["slice"] == "none"] == pytest.approx(1, abs=1e-5)
    assert entities.vectors["mixed"][entities.rows["slice"] == "few"] == pytest.approx(halfway, abs=1e-6)


@pytest.mark.parametrize("c", [0, 33, 109])
def test_odds_add_up_to_the_softmax_of_the_mixed_similarities(c):
    entities, pictures = indexes(noise=0.3)
    truth = entities.rows_of(pictures.rows["entity_id"])
    number = entities.rows["slice"].map({name: i for i, name in enumerate(SLICES)}).to_numpy()
    by_choice = mixed_similarities(entities, pictures.vectors)
    true, rivals = likelihood_grid(by_choice, truth=truth, number=number, scale=40.0)
    weight, length = CHOICES[c].tolist()
    mixed = entities.remixed(dict.fromkeys(SLICES, weight), slice_scale=dict.fromkeys(SLICES, length)).vectors["mixed"]
    expected = [shares(mixed @ picture, scale=40.0)[row] for picture, row in zip(pictures.vectors, truth, strict=True)]
    assert true[c] / (true[c] + rivals[:, c].sum(axis=0)) == pytest.approx(np.array(expected), rel=1e-3, abs=1e-6)


def test_what_was_never_photographed_is_lifted_in_the_mixed_index():
    gains, scales = [], []
    for seed in range(6):
        entities, pictures = left_behind(each=20, seed=seed)
        known, unknown = halves(pictures)
        mixed = calibrate_index(entities, known, scale=SCALE)
        scales.append(mixed.slice_scale["none"] / mixed.slice_scale["frequent"])
        single = np.maximum(*(recalls(entities, unknown, index=kind) for kind in ("caption", "explanation")))
        gains.append(recalls(mixed, unknown) - single)
    found = np.mean(gains, axis=0)
    assert np.mean(scales) > 1.01
    assert found[SLICES.index("none")] > 2
    assert found.min() > -1


def left_behind(*, each: int, seed: int) -> tuple[EntityIndex, PictureIndex]:
    """Explanations that all describe equally well; pictures lean away from those that training never saw."""
    entities, pictures = indexes(noise=0.1, seed=seed, each=each)
    unseen = entities.rows["slice"].to_numpy() == "none"
    noise = np.random.default_rng(seed).normal(size=entities.vectors["caption"].shape)
    explanation = unit(entities.vectors["caption"] + 0.1 * noise)
    entities = EntityIndex("m", entities.rows, entities.vectors | {"explanation": explanation}, {}).remixed({})
    away = explanation[unseen].mean(axis=0)
    return entities, PictureIndex("m", pictures.rows, unit(pictures.vectors - 1.2 * away))


# ---------------------------------------------------------------- thresholds
def tags(entities: EntityIndex, pictures: PictureIndex) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of every tag, and whether it is right."""
    confidence, right = [], []
    for picture, row in zip(pictures.vectors, entities.rows_of(pictures.rows["entity_id"]), strict=True):
        similarities = entities.vectors["mixed"] @ picture
        rows = best(similarities, k=TAGS)
        confidence.append(shares(similarities, scale=SCALE)[rows])
        right.append(rows == row)
    return np.concatenate(confidence), np.concatenate(right)


@pytest.mark.parametrize("precision", [0.8, 0.9])
def test_threshold_keeps_its_promise_on_pictures_that_it_never_saw(precision):
    precisions = []
    for seed in range(10):
        entities, pictures = indexes(noise=0.2, seed=seed, each=20)
        known, unknown = halves(pictures)
        threshold = calibrate_thresholds(entities, known, scale=SCALE)[str(precision)]
        confidence, right = tags(entities, unknown)
        assert (confidence >= threshold).sum() > 100
        precisions.append(right[confidence >= threshold].mean())
    assert np.mean(np.array(precisions) >= precision) >= 0.9
    assert np.mean(precisions) < precision + 0.06  # and it gives no more tags away than it has to


def test_threshold_is_the_least_one_that_is_proven():
    entities, pictures = indexes(noise=0.2, each=10)
    threshold = calibrate_thresholds(entities, pictures, scale=SCALE)["0.8"]
    confidence, right = tags(entities, pictures)

    def proven(least: float) -> float:
        passed = confidence >= least
        return float(proven_share(right[passed].sum(keepdims=True), passed.sum(keepdims=True))[0])

    assert proven(threshold) >= 0.8
    lower = np.unique(confidence[confidence < threshold])
    assert len(lower) > 100
    assert all(proven(least) < 0.8 for least in lower)


@pytest.mark.parametrize(("tags_needed", "precision"), [(16, 0.8), (35, 0.9), (73, 0.95), (381, 0.99)])
def test_so_many_tags_without_a_mistake_prove_a_precision(tags_needed, precision):
    assert proven_share(np.array([tags_needed]), np.array([tags_needed]))[0] >= precision
    assert proven_share(np.array([tags_needed - 1]), np.array([tags_needed - 1]))[0] < precision


def test_few_pictures_prove_the_lower_targets_only():
    entities, pictures = indexes(noise=0.02)  # 120 pictures, all of them right
    assert set(calibrate_thresholds(entities, pictures, scale=SCALE)) == {"0.8", "0.9", "0.95"}
    assert max(PRECISIONS) == 0.99


def test_precision_that_is_out_of_reach_gets_no_threshold():
    entities, pictures = indexes(noise=0.12)
    wrong = PictureIndex("m", pictures.rows.assign(entity_id="e0"), pictures.vectors)
    assert calibrate_thresholds(entities, wrong, scale=SCALE) == {}


# ---------------------------------------------------------------- a whole model
def test_calibration_of_a_real_model_fits_its_card(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    card = calibrate(model, data)
    assert set(card.mix) == set(SLICES)
    assert set(card.slice_scale.values()) <= {round(float(length), 3) for length in LENGTHS}
    assert set(card.mix.values()) <= {round(float(w), 3) for w in WEIGHTS}
    assert card.fingerprint == model.card.fingerprint  # calibrating does not make another model


def test_no_more_pictures_are_embedded_than_calibration_looks_at(tmp_path, monkeypatch):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    seen = []
    monkeypatch.setattr("entityclip.retrieval.index.embedding.decode", lambda data: seen.append(data) or decode(data))
    monkeypatch.setattr("entityclip.evaluation.calibrate.PICTURES", 4)
    calibrate(model, data)
    assert len(seen) == 4 < len(pairs.read_frame(data.pairs, name="val"))


def test_without_validation_pictures_nothing_is_calibrated(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    pairs.write_rows(data.pairs, pairs.PAIRS, [], name="val")
    assert calibrate(model, data) == model.card.model_copy(update={"mix": DEFAULT_MIX})
