"""Calibration on indexes whose best answer is known."""

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.evaluation import calibrate as calibrate_module
from entityclip.evaluation.calibrate import (
    calibrate,
    calibrate_index,
    calibrate_mixture,
    calibrate_thresholds,
)
from entityclip.evaluation.intervals import proven_share
from entityclip.evaluation.mixture_search import Objective, Queries, mixture_of, parameters_of, queries_of
from entityclip.retrieval import metrics
from entityclip.retrieval.index import DEFAULT_MIXTURE, EntityIndex, PictureIndex
from entityclip.retrieval.index.mixture import GROUPS, KINDS, groups_of
from entityclip.retrieval.tagging import PRECISIONS, TAGS
from entityclip.retrieval.vectors import best, shares, unit
from entityclip.schemas import SLICES, Mixture, OpenSetRule

pytestmark = pytest.mark.slow

SCALE = 20.0
BLUR = {"frequent": (0.3, 3.0, 0.6), "few": (1.0, 1.0, 1.0), "one": (1.5, 1.0, 1.5), "none": (4.0, 0.3, 0.0)}
"""How far caption, explanation and images are off: the name says most about the frequent, the explanation about the
never photographed."""

PICTURED = {"frequent": 12, "few": 3, "one": 1, "none": 0}


def indexes(
    *, noise: float, seed: int = 0, slices: tuple[str, ...] = SLICES, each: int = 2
) -> tuple[EntityIndex, PictureIndex]:
    """60 entities with so many pictures each."""
    rng = np.random.default_rng(seed)
    true = unit(rng.normal(size=(60, 24)))
    names = np.resize(slices, 60)
    caption, explanation, images = (
        unit(true + rng.normal(size=true.shape) * np.array([[BLUR[n][i] * noise] for n in names])) for i in range(3)
    )
    images[names == "none"] = 0
    rows = pd.DataFrame({"entity_id": [f"e{i}" for i in range(60)], "slice": names, "has_explanation": True})
    rows["pictures"] = rows["slice"].map(PICTURED)
    vectors = {"caption": caption, "explanation": explanation, "images": images}
    entities = EntityIndex("m", rows, vectors, {}).remixed({})
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
    hit = metrics.ranks(pictures.vectors, entities.vectors[index], truth, offset=entities.offsets[index]).rank == 1
    of = entities.rows["slice"].to_numpy()[truth]
    return np.array([100 * hit[of == name].mean() for name in SLICES])


def test_mixture_serves_every_slice_on_pictures_that_it_never_saw():
    gains = []
    for seed in range(2):
        entities, pictures = indexes(noise=0.25, seed=seed, each=24)
        known, unknown = halves(pictures)
        mixed = calibrate_index(entities, known, scale=SCALE)
        kinds = [recalls(entities, unknown, index=kind) for kind in ("caption", "explanation")]
        gains.append(recalls(mixed, unknown) - np.max(kinds, axis=0))
    assert np.mean(gains, axis=0).min() > -5
    assert np.mean(gains) > 5
    assert min(each.min() for each in kinds) < 50  # each of them fails somewhere


def test_each_slice_leans_to_the_text_that_describes_it():
    mixture = calibrate_mixture(*indexes(noise=0.2, each=6), scale=SCALE, kinds=("caption", "explanation"))
    assert mixture["frequent"].explanation < 0.5 < mixture["none"].explanation
    assert all(found.images == 0 for found in mixture.values())


def test_group_without_pictures_follows_one_like_it():
    mixture = calibrate_mixture(*indexes(noise=0.2, slices=("frequent", "few"), each=10), scale=SCALE)
    assert mixture["few"] != DEFAULT_MIXTURE["few"]
    assert mixture["one"] == mixture["few"]
    for group in ("none", "untrained"):  # never trained on, so that the weights stay
        weights = {"caption", "explanation", "images"}
        assert mixture[group].model_dump(include=weights) == DEFAULT_MIXTURE[group].model_dump(include=weights)
        assert mixture[group].scale == pytest.approx(mixture["few"].scale, abs=2e-4)
        assert mixture[group].offset == pytest.approx(mixture["few"].offset, abs=2e-4)


def test_group_that_validation_pictures_do_not_show_is_found_afterwards():
    """A table with two pictures a product: what has both in training is in no validation picture."""
    entities, pictures = indexes(noise=0.35, each=12)
    known, unknown = halves(pictures)
    of = entities.rows.set_index("entity_id")["slice"]
    shown = np.flatnonzero((of[known.rows["entity_id"]] != "few").to_numpy())
    some = PictureIndex("m", known.rows.iloc[shown].reset_index(drop=True), known.vectors[shown])
    few = SLICES.index("few")
    mixed = recalls(calibrate_index(entities, some, scale=SCALE), unknown)[few]
    assert mixed > recalls(entities, unknown)[few] - 5


def test_worthless_explanations_weigh_little():
    entities, pictures = indexes(noise=0.05, each=6)
    noise = unit(np.random.default_rng(1).normal(size=(60, 24)))
    entities = EntityIndex("m", entities.rows, entities.vectors | {"explanation": noise}, {})
    mixture = calibrate_mixture(entities, pictures, scale=SCALE)
    assert max(mixture[group].explanation for group in ("frequent", "few", "one")) <= 0.2


def test_calibration_is_the_same_every_time():
    assert calibrate_mixture(*indexes(noise=0.3, each=4), scale=SCALE) == calibrate_mixture(
        *indexes(noise=0.3, each=4), scale=SCALE
    )


def test_objective_is_the_softmax_of_the_mixed_similarities():
    entities, pictures = indexes(noise=0.3)
    mixture = {
        "frequent": Mixture(caption=0.5, explanation=0.2, images=0.3, scale=1.1),
        "few": Mixture(caption=0.1, explanation=0.2, images=0.7, offset=0.03),
        "one": Mixture(caption=0.1, explanation=0.8, images=0.1, scale=0.9, offset=-0.05),
        "none": Mixture(caption=0.3, explanation=0.7, images=0, offset=0.1),
    }
    mixed, parameters = entities.remixed(mixture), parameters_of(DEFAULT_MIXTURE | mixture)
    truth = entities.rows_of(pictures.rows["entity_id"])
    similarities = np.stack([pictures.vectors @ entities.vectors[kind].T for kind in KINDS], axis=2)
    queries = queries_of(similarities, truth=truth, groups=groups_of(entities.rows))
    found = Objective(queries, scale=40.0).recalls(parameters)
    tagged = (shares(mixed.similarities(vector, "mixed"), scale=40.0) for vector in pictures.vectors)
    own = np.array([share[row] for share, row in zip(tagged, truth, strict=True)])
    of = groups_of(entities.rows)[truth]
    assert found[:4] == pytest.approx([own[of == group].mean() for group in range(4)], rel=1e-4)


def test_parameters_and_mixture_are_the_same_thing():
    assert mixture_of(parameters_of(DEFAULT_MIXTURE)) == DEFAULT_MIXTURE


def test_what_was_never_photographed_is_lifted_in_the_mixed_index():
    gains = []
    for seed in range(2):
        entities, pictures = left_behind(each=48, seed=seed)
        known, unknown = halves(pictures)
        mixed = calibrate_index(entities, known, scale=SCALE)
        kinds = [recalls(entities, unknown, index=kind) for kind in ("caption", "explanation")]
        gains.append(recalls(mixed, unknown) - np.max(kinds, axis=0))
    found = np.mean(gains, axis=0)
    assert found[SLICES.index("none")] > 2
    assert found.min() > -3


def left_behind(*, each: int, seed: int) -> tuple[EntityIndex, PictureIndex]:
    """Explanations that all describe equally well; pictures lean away from those that training never saw."""
    entities, pictures = indexes(noise=0.1, seed=seed, each=each)
    unseen = entities.rows["slice"].to_numpy() == "none"
    noise = np.random.default_rng(seed).normal(size=entities.vectors["caption"].shape)
    explanation = unit(entities.vectors["caption"] + 0.1 * noise)
    entities = EntityIndex("m", entities.rows, entities.vectors | {"explanation": explanation}, {}).remixed({})
    away = explanation[unseen].mean(axis=0)
    return entities, PictureIndex("m", pictures.rows, unit(pictures.vectors - 1.2 * away))


def test_pictures_of_entities_that_were_not_trained_on_count_for_them():
    entities, pictures = indexes(noise=0.25, each=12)
    vague = unit(entities.vectors["explanation"] + np.random.default_rng(1).normal(size=(60, 24)))
    entities = EntityIndex("m", entities.rows, entities.vectors | {"explanation": vague}, {})
    mixed = calibrate_index(entities, pictures, scale=SCALE)
    assert mixed.mixture["untrained"].images > 0.3
    known, unknown = halves(pictures)
    owned = mixed.with_pictures(known)  # all entities have photographs now, whatever they were trained on
    assert set(owned.rows["pictures"]) == {6}
    late = SLICES.index("none")
    assert recalls(owned, unknown)[late] > recalls(mixed, unknown)[late] + 10


# ---------------------------------------------------------------- thresholds
def tags(entities: EntityIndex, pictures: PictureIndex) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of every tag, and whether it is right."""
    confidence, right = [], []
    for picture, row in zip(pictures.vectors, entities.rows_of(pictures.rows["entity_id"]), strict=True):
        similarities = entities.similarities(picture, "mixed")
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
    assert set(card.mixture) == set(GROUPS)
    assert card.fingerprint == model.card.fingerprint  # calibrating does not make another model


def test_no_more_pictures_are_embedded_than_calibration_looks_at(tmp_path, monkeypatch):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    seen = []
    monkeypatch.setattr("entityclip.retrieval.index.embedding.decode", lambda data: seen.append(data) or decode(data))
    monkeypatch.setattr("entityclip.evaluation.calibrate.PICTURES", 4)
    calibrate(model, data)
    taught = len(pairs.read_frame(data.pairs, name="train"))
    assert len(seen) - taught == 4 < len(pairs.read_frame(data.pairs, name="val"))


def test_without_validation_pictures_nothing_is_calibrated(tmp_path):
    data, model = tiny_data(tmp_path / "data"), tiny_model(tmp_path / "model")
    pairs.write_rows(data.pairs, pairs.PAIRS, [], name="val")
    nothing = {"mixture": DEFAULT_MIXTURE, "open_set": OpenSetRule()}
    assert calibrate(model, data) == model.card.model_copy(update=nothing)


def test_a_gain_on_few_pictures_that_chance_explains_leaves_the_default():
    """Twelve queries of noise: a search always finds something that fits them."""
    kept = 0
    for seed in range(6):
        entities, pictures = indexes(noise=1.5, seed=seed, each=2)
        few = PictureIndex("m", pictures.rows[:12].reset_index(drop=True), pictures.vectors[:12])
        kept += calibrate_index(entities, few, scale=SCALE).mixture == DEFAULT_MIXTURE
    assert kept >= 4


@pytest.mark.parametrize(("late", "proven"), [(6, False), (45, True)])
def test_a_gain_of_few_entities_that_many_pay_for_is_not_proven(late: int, proven: bool) -> None:
    """A table with two pictures a product: each group has as many queries, but one in ten products is held out."""
    slices = pd.Series(["few"] * (60 - late) + ["none"] * late)
    groups = np.repeat([GROUPS.index("few"), GROUPS.index("untrained")], 30)
    gain = np.where(groups == groups[0], -0.06, 0.3) + np.random.default_rng(0).normal(size=60) * 0.1
    queries = Queries(rivals=(), true=np.zeros((60, 3)), group=groups, entity=np.arange(60))
    assert calibrate_module._is_proven(gain, queries, slices=slices) is proven
