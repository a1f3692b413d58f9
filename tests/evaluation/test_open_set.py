"""Known and unknown pictures on indexes whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from entityclip.evaluation.calibrate import calibrate_thresholds, tagged_pictures
from entityclip.evaluation.intervals import proven_by_entity, proven_share
from entityclip.evaluation.open_set_calibration import FEWEST, TaggedPictures, calibrate_open_set
from entityclip.evaluation.open_set_metrics import MarkedPictures, open_set_metrics, sure, tag_scores
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.mixture import GROUPS
from entityclip.retrieval.open_set import first_tags
from entityclip.retrieval.vectors import unit
from entityclip.schemas import SLICES, OpenSetRule, OpenSetTarget

SCALE = 20.0
PICTURED = {"frequent": 12, "few": 3, "one": 1, "none": 0}


def catalogue(
    *, seed: int, count: int = 200, each: int = 8, slices: tuple[str, ...] = SLICES, noise: float = 0.12
) -> tuple[EntityIndex, PictureIndex]:
    """Entities in families that look alike, and ``each`` pictures of every one."""
    rng = np.random.default_rng(seed)
    families = unit(rng.normal(size=(count // 4, 32)))
    true = unit(np.repeat(families, 4, axis=0) + 0.15 * rng.normal(size=(count // 4 * 4, 32)))
    rows = pd.DataFrame({"entity_id": [f"e{i}" for i in range(len(true))], "has_explanation": True})
    rows["slice"] = np.resize(slices, len(true))
    rows["pictures"] = rows["slice"].map(PICTURED)
    texts = unit(true + 0.05 * rng.normal(size=true.shape))
    images = np.where((rows["pictures"] > 0).to_numpy()[:, None], texts, 0).astype(np.float32)
    entities = EntityIndex("m", rows, {"caption": texts, "explanation": texts, "images": images}, {}).remixed({})
    shown = unit(np.repeat(true, each, axis=0) + noise * rng.normal(size=(each * len(true), 32)))
    owner = pd.DataFrame({"entity_id": np.repeat(rows["entity_id"], each)}).reset_index(drop=True)
    return entities, PictureIndex("m", owner, shown)


def half(pictures: PictureIndex, start: int) -> PictureIndex:
    return PictureIndex("m", pictures.rows[start::2].reset_index(drop=True), pictures.vectors[start::2])


def tagged(entities: EntityIndex, pictures: PictureIndex) -> TaggedPictures:
    return TaggedPictures.of(entities, pictures.vectors, entities.rows_of(pictures.rows["entity_id"]), scale=SCALE)


def card(thresholds: dict[str, float], rule: OpenSetRule | None) -> CheckpointCard:
    return CheckpointCard.model_construct(thresholds=thresholds, open_set=rule)


def calibrated(entities: EntityIndex, pictures: PictureIndex) -> CheckpointCard:
    thresholds = calibrate_thresholds(entities, pictures, scale=SCALE)
    return card(thresholds, calibrate_open_set(tagged_pictures(entities, pictures, scale=SCALE), thresholds))


# ---------------------------------------------------------------- first tags
def test_first_tag_without_the_own_entity_is_the_best_of_the_others():
    entities, pictures = catalogue(seed=0, count=40, each=1)
    truth = entities.rows_of(pictures.rows["entity_id"])
    similarities = entities.similarities(pictures.vectors, "mixed")
    known = first_tags(entities, pictures.vectors, scale=SCALE)
    assert known.row.tolist() == similarities.argmax(axis=1).tolist()
    others = similarities.copy()
    others[np.arange(len(truth)), truth] = -np.inf
    unknown = first_tags(entities, pictures.vectors, scale=SCALE, left_out=truth)
    assert unknown.row.tolist() == others.argmax(axis=1).tolist()
    assert not np.any(unknown.row == truth)
    ordered = np.sort(others, axis=1)
    assert unknown.features[:, 0] == pytest.approx(ordered[:, -1], abs=1e-6)
    assert unknown.features[:, 1] == pytest.approx(ordered[:, -1] - ordered[:, -2], abs=1e-6)
    photographed = entities.pictured[unknown.row]
    nearest = np.einsum("nd,nd->n", entities.vectors["images"][unknown.row], pictures.vectors)
    assert unknown.features[:, 2] == pytest.approx(nearest, abs=1e-6)
    assert unknown.features[:, 3].tolist() == (~photographed).tolist()
    odds = np.exp(SCALE * (others - ordered[:, -1:]))
    assert unknown.confidence == pytest.approx(1 / odds.sum(axis=1), rel=1e-4)


# ---------------------------------------------------------------- calibration
@pytest.mark.slow
def test_targets_hold_on_pictures_that_calibration_never_saw():
    false_accepts, precisions, alone = [], [], []
    for seed in range(6):
        entities, pictures = catalogue(seed=seed)
        found, unseen = calibrated(entities, half(pictures, 0)), tagged(entities, half(pictures, 1))
        marked = sure(unseen, found, precision=0.9)
        false_accepts.append(marked[unseen.unknown].mean())
        precisions.append(unseen.right[marked & ~unseen.unknown].mean())
        alone.append(sure(unseen, card(found.thresholds, None), precision=0.9)[unseen.unknown].mean())
        assert marked[~unseen.unknown].mean() > 0.3
    assert max(false_accepts) <= 0.12
    assert np.mean(np.array(false_accepts) <= 0.1) >= 0.8
    assert min(precisions) >= 0.9
    assert np.mean(alone) > 2 * np.mean(false_accepts)  # the confidence cannot tell


def test_rule_is_never_looser_than_the_confidence():
    entities, pictures = catalogue(seed=1)
    found, unseen = calibrated(entities, half(pictures, 0)), tagged(entities, half(pictures, 1))
    for precision in (0.8, 0.9):
        without = sure(unseen, card(found.thresholds, None), precision=precision)
        marked = sure(unseen, found, precision=precision)
        assert 0 < marked.sum() < without.sum()
        assert not np.any(marked & ~without)


def test_card_carries_both_targets_and_a_threshold_for_each_group():
    rule = calibrated(*catalogue(seed=2)).open_set
    assert rule is not None
    target = rule.target(0.9)
    assert target is not None
    assert (target.precision, target.false_accept_rate) == (0.9, 0.1)
    assert {"frequent", "few", "one"} <= set(target.thresholds)
    assert len(set(target.thresholds.values())) > 2
    assert rule.cosine > 0


def test_group_with_too_few_tags_has_the_threshold_of_all_and_is_named():
    entities, pictures = catalogue(seed=3, slices=("frequent", "few"))
    rows = entities.rows.copy()
    rows.loc[0, ["slice", "pictures"]] = "one", 1
    entities = EntityIndex("m", rows, entities.vectors, {}).remixed(entities.mixture)
    rule = calibrated(entities, pictures).open_set
    assert rule is not None
    target = rule.target(0.9)
    assert target is not None
    assert "one" in target.pooled
    assert not {"frequent", "few"} & set(target.pooled)
    assert target.thresholds["one"] == target.thresholds["none"]  # of which there are no tags at all


def test_group_that_never_reaches_the_target_gets_no_sure_tag():
    rng = np.random.default_rng(0)
    unknown, group = np.repeat([False, True], 800), np.tile([0, 1], 800)
    cosine = rng.normal(size=1600) + 4 * ~unknown
    wrong = TaggedPictures(
        features=np.stack([cosine, cosine, cosine, np.zeros(1600)], axis=1),
        confidence=np.ones(1600),
        group=group,
        right=~unknown & ((group == 0) | (rng.random(1600) < 0.5)),  # half of the tags of the second group are wrong
        unknown=unknown,
        entity=np.tile(np.arange(400), 4),
    )
    target = calibrate_open_set(wrong, {"0.9": 0.0}).target(0.9)
    assert target is not None
    assert GROUPS[1] not in target.thresholds
    assert GROUPS[0] in target.thresholds
    assert GROUPS[1] not in target.pooled


def test_too_few_entities_prove_nothing_and_no_tag_is_sure():
    entities, pictures = catalogue(seed=5, count=FEWEST - 4)
    rule = calibrated(entities, pictures).open_set
    assert rule == OpenSetRule()
    seen = tagged(entities, pictures)
    assert not sure(seen, card({"0.9": 0.0}, rule), precision=0.9).any()


def test_no_pictures_prove_nothing():
    entities, pictures = catalogue(seed=6, count=40)
    none = PictureIndex("m", pictures.rows[:0], pictures.vectors[:0])
    assert calibrate_open_set(tagged_pictures(entities, none, scale=SCALE), {}) == OpenSetRule()


def test_entities_whose_pictures_agree_prove_less_than_as_many_entities():
    right = np.repeat(np.arange(30) % 10 > 0, 10).astype(float)

    def counted(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([weight @ right]), np.array([weight.sum()])

    apart, together = (
        proven_by_entity(counted, entity)[0] for entity in (np.arange(300), np.repeat(np.arange(30), 10))
    )
    assert together < apart - 0.03
    assert apart <= proven_share(np.array([right.sum()]), np.array([300]))[0]


# ---------------------------------------------------------------- figures
def test_figures_are_those_of_the_plain_counts():
    entities, pictures = catalogue(seed=7)
    found, seen = calibrated(entities, half(pictures, 0)), tagged(entities, half(pictures, 1))
    figures = {
        m.name: m for m in open_set_metrics(MarkedPictures.of(seen, found), fewest=5, seed=0) if m.slice == "all"
    }
    marked, score = sure(seen, found, precision=0.9), tag_scores(seen, found)
    assert figures["false_accept_at_0.9"].value == pytest.approx(100 * marked[seen.unknown].mean())
    coverage, accepted = (marked & seen.right)[~seen.unknown].mean(), marked[~seen.unknown].mean()
    assert figures["coverage_at_0.9"].value == pytest.approx(100 * coverage)
    assert figures["precision_at_0.9"].value == pytest.approx(100 * coverage / accepted)
    mixed = 0.8 * coverage / (0.8 * accepted + 0.2 * marked[seen.unknown].mean())
    assert figures["precision_with_unknown_at_0.9"].value == pytest.approx(100 * mixed)
    labelled = seen.right | seen.unknown
    assert figures["auroc"].value == pytest.approx(100 * roc_auc_score(seen.right[labelled], score[labelled]))
    least = np.quantile(score[seen.right], 0.05, method="lower")
    assert figures["fpr95"].value == pytest.approx(100 * np.mean(score[seen.unknown] >= least), abs=0.5)
    assert all(m.low <= m.value <= m.high for m in figures.values())
    assert figures["false_accept_at_0.9"].queries == seen.unknown.sum()


def test_slices_are_those_of_the_tagged_entity():
    entities, pictures = catalogue(seed=8, slices=("frequent", "few"))
    target = OpenSetTarget(precision=0.9, false_accept_rate=0.1, thresholds={"frequent": 0.0})
    rule = OpenSetRule(cosine=1, targets=(target,))
    seen = tagged(entities, pictures)
    figures = {
        (m.slice, m.name): m.value
        for m in open_set_metrics(MarkedPictures.of(seen, card({"0.9": 0}, rule)), fewest=5, seed=0)
    }
    assert figures["frequent", "false_accept_at_0.9"] == 100
    assert figures["few", "false_accept_at_0.9"] == 0
    assert ("one", "false_accept_at_0.9") not in figures
