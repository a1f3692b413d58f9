"""Calibration on indexes whose best answer is known."""

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip import metrics, pairs
from entityclip.calibrate import TAGS, WEIGHTS, calibrate, calibrate_mix, calibrate_thresholds
from entityclip.images import decode
from entityclip.index import DEFAULT_MIX, EntityIndex, PictureIndex
from entityclip.records import SLICES
from entityclip.vectors import nearest, unit


def indexes(*, noise: float, seed: int = 0, slices: tuple[str, ...] = SLICES) -> tuple[EntityIndex, PictureIndex]:
    """60 entities, two pictures each; the name says most about the frequent ones, the explanation about the others."""
    rng = np.random.default_rng(seed)
    true = unit(rng.normal(size=(60, 24)))
    names = np.resize(slices, 60)
    blur = {"frequent": (0.3, 3.0), "few": (1.0, 1.0), "one": (1.5, 1.0), "none": (4.0, 0.3)}
    caption, explanation = (
        unit(true + rng.normal(size=true.shape) * np.array([[blur[n][i] * noise] for n in names])) for i in (0, 1)
    )
    rows = pd.DataFrame({"entity_id": [f"e{i}" for i in range(60)], "slice": names})
    entities = EntityIndex("m", rows, {"caption": caption, "explanation": explanation}, {}).remixed({})
    seen = unit(np.repeat(true, 2, axis=0) + noise * rng.normal(size=(120, 24)))
    pictures = pd.DataFrame({"pair_id": [f"p{i}" for i in range(120)], "entity_id": np.repeat(rows["entity_id"], 2)})
    return entities, PictureIndex("m", pictures.reset_index(drop=True), seen)


def mean_recall(entities: EntityIndex, pictures: PictureIndex, mix: dict[str, float]) -> float:
    truth = entities.rows_of(pictures.rows["entity_id"])
    hit = metrics.ranks(pictures.vectors, entities.remixed(mix).vectors["mixed"], truth).rank == 1
    of = entities.rows["slice"].to_numpy()[truth]
    return float(np.mean([hit[of == name].mean() for name in np.unique(of)]))


@pytest.mark.parametrize("seed", range(4))
def test_no_single_weight_can_be_changed_for_the_better(seed):
    entities, pictures = indexes(noise=0.2, seed=seed)
    mix = calibrate_mix(entities, pictures)
    reached = mean_recall(entities, pictures, mix)
    others = [mean_recall(entities, pictures, mix | {n: float(w)}) for n in SLICES for w in WEIGHTS]
    assert reached >= max(others) - 1e-9
    assert reached > mean_recall(entities, pictures, DEFAULT_MIX)


def test_each_slice_leans_to_the_text_that_describes_it():
    mix = calibrate_mix(*indexes(noise=0.2))
    assert mix["frequent"] < 0.5 < mix["none"]


def test_slice_without_pictures_keeps_its_default():
    mix = calibrate_mix(*indexes(noise=0.2, slices=("frequent", "few")))
    assert (mix["one"], mix["none"]) == (DEFAULT_MIX["one"], DEFAULT_MIX["none"])


def test_where_every_weight_is_right_the_default_stays():
    assert calibrate_mix(*indexes(noise=0.0)) == DEFAULT_MIX


def precision_from(threshold: float, entities: EntityIndex, pictures: PictureIndex) -> float:
    truth = entities.rows_of(pictures.rows["entity_id"])
    right = []
    for picture, row in zip(pictures.vectors, truth, strict=True):
        rows, scores = nearest(picture, entities.vectors["mixed"], k=TAGS)
        right += (rows[scores >= threshold] == row).tolist()
    return float(np.mean(right))


def test_threshold_is_the_least_one_that_keeps_its_promise():
    entities, pictures = indexes(noise=0.12)
    threshold = calibrate_thresholds(entities, pictures)["0.9"]
    assert precision_from(threshold, entities, pictures) >= 0.9
    best = [nearest(p, entities.vectors["mixed"], k=TAGS)[1] for p in pictures.vectors]
    lower = np.concatenate(best)
    lower = lower[lower < threshold]
    assert len(lower) > 100
    assert all(precision_from(score, entities, pictures) < 0.9 for score in np.unique(lower)[-40:])


def test_precision_that_is_out_of_reach_gets_no_threshold():
    entities, pictures = indexes(noise=0.12)
    wrong = PictureIndex("m", pictures.rows.assign(entity_id="e0"), pictures.vectors)
    assert calibrate_thresholds(entities, wrong) == {}


def test_calibration_of_a_real_model_fits_its_card(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    mix, thresholds = calibrate(model, data)
    card = tiny_model(tmp_path / "again", mix=mix, thresholds=thresholds).card
    assert set(card.mix) == set(SLICES)
    assert card.fingerprint == model.card.fingerprint  # calibrating does not make another model


def test_no_more_pictures_are_embedded_than_calibration_looks_at(tmp_path, monkeypatch):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    seen = []
    monkeypatch.setattr("entityclip.index.decode", lambda data: seen.append(data) or decode(data))
    monkeypatch.setattr("entityclip.calibrate.PICTURES", 4)
    calibrate(model, data)
    assert len(seen) == 4 < len(pairs.read_frame(data.pairs, name="val"))


def test_without_validation_pictures_nothing_is_calibrated(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    pairs.write_rows(data.pairs, pairs.PAIRS, [], name="val")
    assert calibrate(model, data) == (DEFAULT_MIX, {})
