"""Where the pictures that calibrate also evaluate, none of them is judged by its own calibration."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_data, tiny_model

from entityclip.evaluation import cross_fit
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.cross_fit import FOLDS, cross_fitted
from entityclip.evaluation.evaluate import evaluate
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.retrieval.index import DEFAULT_MIXTURE, EntityIndex, PictureIndex
from entityclip.schemas import Mixture


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: DataLayout) -> LoadedModel:
    made = tiny_model(tmp_path_factory.mktemp("model"))
    return replace(made, card=calibrate(made, data))


def mixed_scores(model: LoadedModel, data: DataLayout, *, by_name: bool, cross_fit: bool = True) -> np.ndarray:
    """Scores of the true entities on validation pictures, with the card's own mixture, or one that knows the names
    alone.
    """
    names = dict.fromkeys(DEFAULT_MIXTURE, Mixture(caption=1, explanation=0, images=0))
    card = model.card.model_copy(update={"mixture": names}) if by_name else model.card
    _, rows = evaluate(replace(model, card=card), data, split="val", cross_fit=cross_fit, progress=False)
    return rows[rows["index"] == "mixed"].sort_values("pair_id")["true_score"].to_numpy()


def test_figures_on_validation_pictures_do_not_depend_on_what_the_card_learned_from_them(model, data) -> None:
    fitted = mixed_scores(model, data, by_name=True)
    assert np.array_equal(fitted, mixed_scores(model, data, by_name=False))
    assert not np.allclose(fitted, mixed_scores(model, data, by_name=True, cross_fit=False))


def test_each_picture_is_judged_once_and_its_entity_calibrates_elsewhere(model, data) -> None:
    entities = EntityIndex.build(model, data, pictures=PictureIndex.build(model, data, split="train"))
    pictures = PictureIndex.build(model, data, split="test")
    parts = list(cross_fitted(model.card, entities, pictures, scale=model.scale))
    assert 1 < len(parts) <= FOLDS
    assert sorted(np.concatenate([part.rows for part in parts])) == list(range(len(pictures.rows)))
    shown = [set(pictures.rows["entity_id"].iloc[part.rows]) for part in parts]
    assert sum(map(len, shown)) == len(set.union(*shown))


def test_a_fold_is_calibrated_on_parts_of_all_inner_folds_and_on_no_more_pictures_than_a_calibration(
    model, data, monkeypatch
):
    shown, calibrated = [], cross_fit.calibrated

    def spied(card, entities, pictures, *, scale):
        shown.append(pictures)
        return calibrated(card, entities, pictures, scale=scale)

    entities = EntityIndex.build(model, data, pictures=PictureIndex.build(model, data, split="train"))
    pictures = PictureIndex.build(model, data, split="test")
    monkeypatch.setattr(cross_fit, "calibrated", spied)
    list(cross_fitted(model.card, entities, pictures, scale=model.scale))
    inner = np.random.default_rng(0).integers(FOLDS, size=1000)
    outer = np.random.default_rng(cross_fit.SEED).integers(FOLDS, size=1000)
    assert len({*zip(inner, outer, strict=True)}) == FOLDS**2  # independent draws
    whole = [set(part.rows["pair_id"]) for part in shown]
    shown.clear()
    monkeypatch.setattr(cross_fit, "PICTURES", 4)
    list(cross_fitted(model.card, entities, pictures, scale=model.scale))
    assert [set(part.rows["pair_id"]) for part in shown] == [set(sorted(ids)[:4]) for ids in whole]
    for part in shown:
        rows = pictures.rows["pair_id"].isin(part.rows["pair_id"])
        assert list(part.rows["pair_id"]) == list(pictures.rows["pair_id"][rows])
        assert np.array_equal(part.vectors, pictures.vectors[rows])
