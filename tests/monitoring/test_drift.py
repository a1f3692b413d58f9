"""Drift: real differences are found, chance is not, and what was sent twice counts once."""

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip.monitoring.baseline import baseline, drift_sample
from entityclip.monitoring.drift import NUMBERS, DriftPolicy, DriftSample, compare, discriminator_auc
from entityclip.monitoring.statistics import picture_statistics, script_of
from entityclip.retrieval.index import EntityIndex
from entityclip.retrieval.vectors import unit

POLICY = DriftPolicy(min_samples=100)


def sample(seed: int, *, count: int = 300, shift: float = 0.0, scripts: dict[str, int] | None = None) -> DriftSample:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(count, 16)) + shift * np.eye(16)[0])
    figures = pd.DataFrame(rng.uniform(0.2, 0.8, (count, len(NUMBERS))), columns=list(NUMBERS))
    texts = [script for script, n in (scripts or {"latin": 300}).items() for _ in range(n)]
    return DriftSample(figures, vectors, pd.Series(texts, dtype="str"))


def drifted(reference: DriftSample, current: DriftSample, policy: DriftPolicy = POLICY) -> set[str]:
    tests, _ = compare(reference, current, policy=policy)
    assert {test.what for test in tests} == {*NUMBERS, "embedding", "script"}
    return {test.what for test in tests if test.drifted}


def test_equal_samples_never_drift_even_at_the_lowest_limits():
    sensitive = DriftPolicy(min_samples=100, ks_threshold=0, auc_threshold=0.5, script_shift_threshold=0)
    alarms = [drifted(sample(2 * seed), sample(2 * seed + 1), sensitive) for seed in range(15)]
    assert sum(map(bool, alarms)) <= 1  # at most one look in a hundred is a false alarm


@pytest.mark.parametrize("name", NUMBERS)
def test_a_figure_that_moves_drifts_and_no_other_does(name):
    moved = sample(1)
    moved.pictures[name] += 0.4
    assert drifted(sample(0), moved) == {name}


def test_pictures_of_another_kind_are_drift():
    assert drifted(sample(0), sample(1, shift=4.0)) == {"embedding"}
    auc, chance = discriminator_auc(sample(0).vectors, sample(1, shift=4.0).vectors)
    assert auc > 0.85
    assert chance < 1e-6


def test_another_script_drifts_and_fewer_scripts_do_not():
    latin, mixed = {"latin": 300}, {"latin": 200, "cyrillic": 100}
    assert drifted(sample(0, scripts=latin), sample(1, scripts=mixed)) == {"script"}
    assert drifted(sample(0, scripts={"latin": 290, "greek": 10}), sample(1, scripts=latin)) == set()


def test_a_small_difference_is_certain_among_many_and_still_no_drift():
    many, moved = sample(0, count=20_000), sample(1, count=20_000)
    moved.pictures["brightness"] += 0.05
    tests = {test.what: test for test in compare(many, moved, policy=POLICY)[0]}
    assert tests["brightness"].p_value < 1e-6
    assert not tests["brightness"].drifted


def test_one_picture_sent_all_day_is_one_picture():
    once = sample(1, count=1)
    flood = DriftSample(
        pd.concat([once.pictures] * 500, ignore_index=True), np.repeat(once.vectors, 500, axis=0), once.scripts
    )
    tests, untested = compare(sample(0), flood, policy=POLICY)
    assert [test.what for test in tests] == ["script"]
    assert "1 pictures of the service and 300 of the data; 100 of each are needed" in untested


def test_no_samples_are_reported_as_too_few():
    nothing = DriftSample(pd.DataFrame(columns=list(NUMBERS)), np.zeros((0, 16), np.float32), pd.Series(dtype="str"))
    tests, untested = compare(sample(0), nothing, policy=POLICY)
    assert tests == ()
    assert len(untested) == 2


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("KX-204B", "latin"),
        ("ＫＸ２０４", "latin"),
        ("赤いやかん", "japanese or chinese"),
        ("ﾔｶﾝ", "japanese or chinese"),
        ("чайник", "cyrillic"),
        ("4901234567894", "none"),
        ("", "none"),
    ],
)
def test_scripts(text, script):
    assert script_of(text) == script


def test_statistics_say_what_they_are_called():
    grey = np.full((3, 8, 8), 51, np.uint8)
    red = np.stack([np.full((8, 8), 255), np.zeros((8, 8)), np.zeros((8, 8))]).astype(np.uint8)
    chess = np.broadcast_to(255 * (np.indices((8, 8)).sum(axis=0) % 2), (3, 8, 8)).astype(np.uint8)
    flat = {"brightness": 0.2, "contrast": 0, "colour": 0, "sharpness": 0}
    assert picture_statistics(grey) == pytest.approx(flat, abs=1e-6)
    assert picture_statistics(red)["colour"] == 1
    assert picture_statistics(chess) == pytest.approx({"brightness": 0.5, "contrast": 0.5, "colour": 0, "sharpness": 1})


def test_the_baseline_holds_untrained_pictures_and_the_same_again_does_not_drift(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    frame, entities = baseline(model, data), EntityIndex.build(model, data)
    known = drift_sample(frame, entities)
    assert len(known.vectors) == 24  # of each of six entities three test pictures and one of val
    assert known.scripts.eq("latin").all()
    assert known.pictures["score"].between(-1.01, 1.01).all()
    assert known.pictures["brightness"].between(0.5, 1).all()
    tests, _ = compare(known, drift_sample(frame, entities), policy=DriftPolicy(min_samples=20))
    assert {test.value for test in tests if test.what != "embedding"} == {0.0}
