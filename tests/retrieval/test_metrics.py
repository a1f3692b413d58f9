"""Ranks and figures against the plainest implementation that anybody would write."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from entityclip.retrieval import metrics

SMALL = st.integers(-2, 2).map(float)
"""Small whole numbers: their products are exact, so ties are ties, and there are many."""


@st.composite
def retrieval(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    queries, candidates, dim = draw(st.integers(1, 9)), draw(st.integers(1, 7)), draw(st.integers(1, 3))
    truth = draw(arrays(np.int64, queries, elements=st.integers(0, candidates - 1)))
    vectors = [draw(arrays(np.float32, (n, dim), elements=SMALL)) for n in (queries, candidates)]
    return vectors[0], vectors[1], truth


def plain_rank(scores: list[float], true: int) -> int:
    return sum(score >= scores[true] for score in scores)


def plain_average_precision(scores: list[float], relevant: set[int]) -> tuple[float, float]:
    worst_first = sorted(range(len(scores)), key=lambda i: (-scores[i], i in relevant))
    hits = [place for place, i in enumerate(worst_first, start=1) if i in relevant]
    precisions = [n / place for n, place in enumerate(hits, start=1)]
    return 100 * sum(precisions) / len(hits), 10 * sum(place <= 10 for place in hits)


@given(retrieval(), st.integers(1, 20))
def test_rank_is_the_number_of_candidates_that_score_as_high(case, block):
    queries, candidates, truth = case
    ranked = metrics.ranks(queries, candidates, truth, block=block)
    scores = (queries @ candidates.T).tolist()
    assert ranked.rank.tolist() == [plain_rank(row, int(t)) for row, t in zip(scores, truth, strict=True)]
    assert ranked.best_score.tolist() == [max(row) for row in scores]
    assert [row[b] for row, b in zip(scores, ranked.best, strict=True)] == ranked.best_score.tolist()
    assert ranked.true_score.tolist() == [row[t] for row, t in zip(scores, truth, strict=True)]


@given(retrieval())
def test_average_precision_puts_the_wrong_picture_first_in_a_tie(case):
    pictures, entities, truth = case
    found = metrics.picture_retrieval(entities, pictures, truth)
    assert found.index.tolist() == sorted(set(truth.tolist()))
    for entity in found.index:
        relevant = set(np.flatnonzero(truth == entity).tolist())
        expected = plain_average_precision((pictures @ entities[entity]).tolist(), relevant)
        assert found.loc[entity].tolist() == pytest.approx(expected)


def test_average_precision_of_an_example_worked_by_hand():
    # Similarities with the first entity: .9 right, .8 wrong, .7 right, .6 wrong -> (1/1 + 2/3) / 2.
    entities = np.array([[1, 0], [0, 1]], dtype=np.float32)
    pictures = np.array([[0.9, 0], [0.8, 0.5], [0.7, 0], [0.6, 0.6]], dtype=np.float32)
    found = metrics.picture_retrieval(entities, pictures, np.array([0, 1, 0, 1]))
    assert found.loc[0].tolist() == pytest.approx([100 * (1 + 2 / 3) / 2, 20])
    assert found.loc[1].tolist() == pytest.approx([100, 20])


def test_a_model_that_answers_the_same_to_everything_scores_nothing():
    queries, candidates = np.ones((50, 8), dtype=np.float32), np.ones((30, 8), dtype=np.float32)
    assert (metrics.ranks(queries, candidates, np.zeros(50, dtype=int)).rank == 30).all()


def test_equal_candidates_tie_whatever_their_place_in_the_product():
    rng = np.random.default_rng(0)
    one, queries = rng.normal(size=(1, 333)).astype(np.float32), rng.normal(size=(70, 333)).astype(np.float32)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, queries)]
    ranked = metrics.ranks(unit[1], np.repeat(unit[0], 101, axis=0), np.arange(70))
    assert (ranked.rank == 101).all()


def test_a_score_that_is_not_a_number_counts_against_the_model():
    candidates = np.array([[1, 0], [np.nan, 0], [0, 1]], dtype=np.float32)
    queries = np.array([[1, 0], [1, 0]], dtype=np.float32)
    assert metrics.ranks(queries, candidates, np.array([0, 1])).rank.tolist() == [2, 3]


def test_blocks_give_the_ranks_of_one_whole_product():
    rng = np.random.default_rng(0)
    queries, candidates = (rng.normal(size=(n, 16)).astype(np.float32) for n in (4000, 3000))
    truth = rng.integers(3000, size=4000)
    whole = metrics.ranks(queries, candidates, truth, block=4000 * 3000)
    parts = metrics.ranks(queries, candidates, truth, block=50_000)
    assert (whole.rank == parts.rank).all()
    assert whole.rank.min() < 100 < whole.rank.max()


@given(st.data(), st.integers(1, 6), st.integers(1, 20))
def test_both_directions_are_the_ranks_of_either_side_as_query(data, count, block):
    left, right = (data.draw(arrays(np.float32, (count, 2), elements=SMALL)) for _ in range(2))
    own = np.arange(count)
    expected = metrics.ranks(left, right, own), metrics.ranks(right, left, own)
    for ranked, plain in zip(metrics.both_ways(left, right, block=block), expected, strict=True):
        for field in ("rank", "true_score", "best", "best_score"):
            assert getattr(ranked, field).tolist() == getattr(plain, field).tolist(), field


def test_both_ways_agree_on_vectors_like_a_models():
    rng = np.random.default_rng(0)
    left = rng.normal(size=(900, 64)).astype(np.float32)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right = left + rng.normal(scale=0.2, size=left.shape).astype(np.float32)
    right[:40] = right[0]  # ties
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    own = np.arange(900)
    forth, back = metrics.both_ways(left, right, block=50_000)
    assert (forth.rank == metrics.ranks(left, right, own).rank).all()
    assert (back.rank == metrics.ranks(right, left, own).rank).all()
    assert forth.rank[:40].min() >= 40
    assert 1 == np.median(forth.rank[40:]) < forth.rank[40:].max()


def test_a_vector_that_is_not_a_number_comes_last_both_ways():
    left, right = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    right[1] = np.nan
    forth, back = metrics.both_ways(left, right)
    assert forth.rank.tolist() == [2, 3, 2]
    assert back.rank.tolist() == [1, 3, 1]


def figures(ranks: list[int], groups: list[str], *, candidates: int = 300) -> dict[str, metrics.Figure]:
    found = metrics.rank_figures(np.array(ranks), np.array(groups), candidates=candidates, seed=0)
    return {figure.name: figure for figure in found}


@settings(max_examples=25)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_figures_are_what_they_say(ranks):
    found = figures(ranks, [str(i) for i in range(len(ranks))])
    assert found["R@5"].value == pytest.approx(100 * sum(r <= 5 for r in ranks) / len(ranks))
    assert found["mean_rank"].value == pytest.approx(np.mean(ranks))
    assert found["median_rank"].value == np.median(ranks)
    for figure in found.values():
        assert figure.low <= figure.high
        assert figure.queries == len(ranks)


def test_recall_at_more_than_there_are_candidates_is_left_out():
    assert list(figures([1, 2], ["a", "b"], candidates=50)) == ["R@1", "R@5", "R@10", "mean_rank", "median_rank"]
    assert "R@50" in figures([1, 2], ["a", "b"], candidates=51)


def test_interval_covers_the_true_recall_about_95_times_in_100():
    rng, covered = np.random.default_rng(1), 0
    for trial in range(100):
        hits = rng.random(120) < 0.3
        (figure,) = metrics.mean_figures({"hit": 100.0 * hits}, np.arange(120), seed=trial)
        covered += figure.low <= 30 <= figure.high
    assert 88 <= covered <= 99


def test_interval_of_the_median_agrees_with_resampling_by_hand():
    rng = np.random.default_rng(2)
    ranks = rng.integers(1, 100, size=81)
    figure = figures(ranks.tolist(), [str(i) for i in range(81)])["median_rank"]
    medians = [np.median(rng.choice(ranks, size=81)) for _ in range(2000)]
    assert (figure.low, figure.high) == pytest.approx(np.percentile(medians, (2.5, 97.5)), abs=4)


def test_intervals_are_the_same_however_many_resamples_are_held_at_a_time(monkeypatch):
    ranks = np.random.default_rng(4).integers(1, 200, size=300).tolist()
    groups = [str(i // 3) for i in range(300)]
    whole = figures(ranks, groups)
    monkeypatch.setattr(metrics, "WEIGHTS", 700)
    for name, figure in figures(ranks, groups).items():
        assert figure[1:] == pytest.approx(whole[name][1:])


def test_queries_of_one_entity_are_drawn_together():
    rng = np.random.default_rng(3)
    ranks = np.repeat(np.where(rng.random(40) < 0.5, 1, 9), 25)  # an entity's pictures all hit or all miss
    together = figures(ranks.tolist(), [str(i // 25) for i in range(1000)])["R@1"]
    apart = figures(ranks.tolist(), [str(i) for i in range(1000)])["R@1"]
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_a_single_entity_still_gets_an_interval():
    figure = figures([1, 2, 1, 2, 1, 2], ["only"] * 6)["R@1"]
    assert figure.low < 50 < figure.high


@pytest.mark.slow
def test_many_queries_and_candidates_fit_into_little_memory():
    script = """
import numpy as np
from pathlib import Path
from entityclip.retrieval import metrics
vectors = np.random.default_rng(0).standard_normal((40_000, 8), dtype=np.float32)
forth, _ = metrics.both_ways(vectors, vectors)
metrics.rank_figures(forth.rank, np.arange(40_000), candidates=40_000, seed=0)
print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # Not getrusage: its peak is carried over from the process that started this one.
    assert float(done.stdout) < 1.5 * 2**20  # KiB; all similarities would be 6 GiB, before a single comparison
