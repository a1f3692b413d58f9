from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entityclip.errors import ConfigError, DataError
from entityclip.quality import score_explanations
from entityclip.quality.fault_injection import inject_faults
from entityclip.quality.text_quality_model import LIKELY, TextQualityModel, features, fit_model, read_text_quality_model
from tests.quality.test_set_scores import catalogue

TEXTS, ENTITIES = catalogue(120)


@pytest.fixture(scope="module")
def lessons() -> pd.DataFrame:
    return score_explanations(inject_faults(TEXTS, ENTITIES, share=0.4, seed=1), ENTITIES)


@pytest.fixture(scope="module")
def model(lessons: pd.DataFrame) -> TextQualityModel:
    return fit_model(lessons, lessons["injected_fault"].isna(), learned_from={"seed": 1})


@pytest.fixture(scope="module")
def fresh() -> pd.DataFrame:
    return score_explanations(inject_faults(TEXTS, ENTITIES, share=0.4, seed=2), ENTITIES)


def test_fresh_faults_are_distinguished_from_fresh_sound_texts(model: TextQualityModel, fresh: pd.DataFrame) -> None:
    aside = model.probability(fresh) < model.threshold
    sound = fresh["injected_fault"].isna()
    assert aside[~sound].mean() > 0.9
    assert aside[sound].mean() < 0.12


def test_probabilities_are_calibrated_to_the_share_that_is_expected(lessons: pd.DataFrame, fresh: pd.DataFrame) -> None:
    sound = lessons["injected_fault"].isna()
    even = fit_model(lessons, sound, learned_from={}, faulty_share=float((~sound).mean()))
    assert abs(even.probability(fresh).mean() - fresh["injected_fault"].isna().mean()) < 0.06
    rare = fit_model(lessons, sound, learned_from={}, faulty_share=0.02)
    assert rare.probability(fresh).mean() > even.probability(fresh).mean()


def test_the_file_gives_the_same_probabilities(model: TextQualityModel, fresh: pd.DataFrame, tmp_path: Path) -> None:
    model.write(tmp_path / "text_quality.json")
    again = read_text_quality_model(tmp_path / "text_quality.json")
    assert again == model
    pd.testing.assert_series_equal(again.probability(fresh), model.probability(fresh))


def test_learning_twice_gives_the_same_model(lessons: pd.DataFrame, model: TextQualityModel) -> None:
    assert fit_model(lessons, lessons["injected_fault"].isna(), learned_from={"seed": 1}) == model


def test_the_reasons_add_up_to_the_log_odds(model: TextQualityModel, fresh: pd.DataFrame) -> None:
    odds = model.reasons(fresh).sum(axis=1) + model.intercept
    assert np.allclose(1 / (1 + np.exp(-odds)), model.probability(fresh))
    refused = fresh["injected_fault"] == "refusal"
    assert (model.reasons(fresh)[refused].idxmin(axis=1).isin(["any_fault", "copies", "like_own"])).all()


def test_the_curve_keeps_the_promise_and_only_rises(model: TextQualityModel) -> None:
    caught = [point.caught for point in model.curve]
    alarms = [point.false_alarms for point in model.curve]
    assert caught == sorted(caught)
    assert alarms == sorted(alarms)
    kept = [point for point in model.curve if point.threshold <= model.threshold]
    assert max(point.false_alarms for point in kept) <= model.false_alarms + 1e-9
    assert len(model.curve) > 20


def test_where_faults_lie_far_apart_no_likely_text_is_quarantined(lessons: pd.DataFrame) -> None:
    apart = lessons[lessons["injected_fault"].isna() | lessons["injected_fault"].isin(["refusal", "wrong_language"])]
    found = fit_model(apart, apart["injected_fault"].isna(), learned_from={}, false_alarms=0.3)
    aside = found.probability(apart) < found.threshold
    assert found.threshold == LIKELY
    assert aside[apart["injected_fault"].notna()].mean() > 0.95
    assert aside[apart["injected_fault"].isna()].mean() < 0.05


def test_scores_that_are_missing_say_nothing(model: TextQualityModel, fresh: pd.DataFrame) -> None:
    assert features(fresh)["picture_match"].isna().all()
    assert model.reasons(fresh)["picture_match"].eq(0).all()


def test_too_few_entities_are_an_error(lessons: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="faulty texts of 0 entities; expected at least 10"):
        fit_model(lessons, pd.Series(True, index=lessons.index), learned_from={})
    with pytest.raises(ConfigError, match=r"faulty_share is 0; expected"):
        fit_model(lessons, lessons["injected_fault"].isna(), learned_from={}, faulty_share=0)


def test_a_file_that_is_no_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json: no text-quality model"):
        read_text_quality_model(tmp_path / "x.json")
