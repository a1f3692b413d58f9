"""The sequential test of harm: its rate of false alarms, and how soon it finds what is broken."""

import numpy as np
import pytest

from entityclip.evaluation.sequential import evidence

ALPHA = 0.05


def alarm(worse: np.ndarray, better: np.ndarray, *, margin: float) -> int | None:
    """Number of observations at the first alarm; None without one."""
    lost = won = 0
    for number, (loss, win) in enumerate(zip(worse, better, strict=True), 1):
        lost, won = lost + int(loss), won + int(win)
        if evidence(lost, number - lost - won, won, margin=margin) >= 1 / ALPHA:
            return number
    return None


@pytest.mark.parametrize(("worse", "better", "margin"), [(0.01, 0.0, 0.01), (0.12, 0.1, 0.02), (0.5, 0.0, 0.5)])
def test_evaluation_after_every_observation_raises_few_false_alarms(worse, better, margin):
    rng, runs = np.random.default_rng(0), 150
    draws = rng.random((runs, 300))
    alarms = [alarm(row < worse, (row >= worse) & (row < worse + better), margin=margin) for row in draws]
    assert sum(found is not None for found in alarms) <= ALPHA * runs


def test_a_challenger_that_always_fails_is_found_at_once():
    every, none = np.ones(50, bool), np.zeros(50, bool)
    assert alarm(every, none, margin=0.01) == 7
    assert alarm(none, every, margin=0.01) is None
    assert alarm(none, none, margin=0.01) is None


def test_no_observation_is_no_evidence_and_many_are_no_overflow():
    assert evidence(0, 0, 0, margin=0.02) == 1
    assert evidence(100_000, 0, 0, margin=0.02) == float("inf")
    assert evidence(0, 0, 100_000, margin=0.02) == pytest.approx(0)
