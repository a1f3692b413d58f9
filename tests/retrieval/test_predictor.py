"""The packaged model answers as the evaluator measured it."""

import datetime
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from tiny import COLOURS, tiny_data, tiny_model, tiny_picture

from bentos.build.smoke_test import packaged_probes
from entityclip.data import pairs
from entityclip.errors import CheckpointError, ConfigError, DataError, IndexMismatch
from entityclip.evaluation.evaluate import evaluate
from entityclip.paths import DataLayout, PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.mixture import GROUPS, groups_of
from entityclip.retrieval.predictor import Predictor
from entityclip.retrieval.vectors import unit
from entityclip.schemas import Filter, Mixture, OpenSetRule, OpenSetTarget, Tag

MIXTURE = {
    "few": Mixture(caption=0.1, explanation=0.3, images=0.6, scale=1.02, offset=0.01),
    "untrained": Mixture(caption=0, explanation=0.4, images=0.6, offset=-0.02),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, data: DataLayout) -> Path:
    folder = tmp_path_factory.mktemp("package")
    model = tiny_model(folder, mixture=MIXTURE, thresholds={"0.9": 0.2})
    pictures = PictureIndex.build(model, data)
    EntityIndex.build(model, data, pictures=pictures).save(PackageLayout(folder).entities)
    pictures.save(PackageLayout(folder).pictures)
    return folder


@pytest.fixture(scope="module")
def predictor(package: Path) -> Predictor:
    return Predictor.load(package)


def test_tags_have_the_scores_of_the_evaluator_over_the_same_index(predictor, package, data):
    report, _ = evaluate(predictor.model, data, progress=False)
    pictures = {row["pair_id"]: row["image"]["bytes"] for row in pairs.iter_rows(data.pairs, name="test")}
    assert len(report.probes) == 5
    for probe in packaged_probes(package, report.probes, pictures):
        tags = predictor.tag(Image.open(io.BytesIO(pictures[probe.pair_id])), k=5)
        assert {tag.entity: tag.score for tag in tags} == pytest.approx(probe.scores, abs=1e-5)
        assert [tag.score for tag in tags] == sorted((tag.score for tag in tags), reverse=True)
    assert report.probes != packaged_probes(package, report.probes, pictures)  # which has more photographs


def test_tag_shows_the_nearest_photograph_of_the_entity(predictor):
    for tag in predictor.tag(tiny_picture("green", 2), k=6):
        (why,) = tag.why
        assert why.by == "photograph"
        assert why.path.startswith(tag.entity.removeprefix("KX-").lower())
        if tag.entity == "KX-GREEN":
            assert (why.path, why.score) == ("green/2.png", pytest.approx(1, abs=1e-5))
    hits = predictor.search(image=tiny_picture("green", 2), target="entities", k=6)
    assert {hit.entity: hit.why[0] for hit in hits}["KX-GREEN"].path == "green/2.png"
    assert not any(e.by == "photograph" for hit in predictor.search("a disc", target="entities") for e in hit.why)


def test_several_pictures_of_one_thing_are_averaged(predictor):
    pictures = [tiny_picture("red", 0), tiny_picture("red", 1)]
    vector = unit(predictor.embed_images(pictures).mean(axis=0, keepdims=True))[0]
    expected = predictor.entities.similarities(vector, "mixed")
    tags = {tag.entity: tag.score for tag in predictor.tag(pictures, k=6)}
    assert tags == pytest.approx(dict(zip(predictor.entities.rows["entity"], expected.tolist(), strict=True)), abs=1e-5)
    hits = predictor.search(image=pictures, target="entities", k=6)
    assert {hit.entity: hit.score for hit in hits} == pytest.approx(tags, abs=1e-5)
    assert predictor.match(pictures, "KX-RED").score == pytest.approx(tags["KX-RED"], abs=1e-5)
    assert predictor.tag(pictures[:1]) == predictor.tag(pictures[0])


def test_tag_is_above_the_threshold_of_the_card_or_not(predictor):
    picture = tiny_picture("red", 0)
    third = predictor.tag(picture)[2].confidence
    card = predictor.model.card.model_copy(update={"thresholds": {"0.9": third}})
    calibrated = replace(predictor, model=replace(predictor.model, card=card))
    assert [tag.above_threshold for tag in calibrated.tag(picture)] == [True, True, True, False, False]
    out_of_reach = replace(predictor, model=replace(predictor.model, card=card.model_copy(update={"thresholds": {}})))
    for unknown in (out_of_reach.tag(picture), calibrated.tag(picture, index="caption")):
        assert not any(tag.above_threshold for tag in unknown)


def test_tag_has_to_be_accepted_by_the_open_set_rule_as_well(predictor):
    picture = tiny_picture("red", 0)

    def tagged(rule: OpenSetRule | None) -> list[Tag]:
        card = predictor.model.card.model_copy(update={"thresholds": {"0.9": 0.0}, "open_set": rule})
        return replace(predictor, model=replace(predictor.model, card=card)).tag(picture)

    without = tagged(None)  # a card of an earlier version: the confidence alone decides
    assert all(tag.above_threshold and tag.open_set is None for tag in without)
    weights = {"cosine": 2.0, "margin": 1.0, "photographs": 0.5, "intercept": -1.0}
    scored = tagged(OpenSetRule(**weights))
    assert not any(tag.above_threshold for tag in scored)  # it proves no target
    rivals = [scored[1].score, *[scored[0].score] * 4]
    for tag, rival in zip(scored, rivals, strict=True):
        row = predictor.entities.row_of(tag.entity_id)
        near = predictor.entities.vectors["images"][row] @ predictor.embed_images([picture])[0]
        odds = 2 * tag.score + (tag.score - rival) + 0.5 * near - 1
        assert tag.open_set == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
    group = GROUPS[groups_of(predictor.entities.rows)[predictor.entities.row_of(scored[0].entity_id)]]
    target = OpenSetTarget(precision=0.9, false_accept_rate=0.1, thresholds={group: scored[0].open_set - 1e-6})
    marked = tagged(OpenSetRule(**weights, targets=(target,)))
    assert [tag.above_threshold for tag in marked] == [True, False, False, False, False]


def test_uncalibrated_precision_is_refused(predictor):
    with pytest.raises(ConfigError, match=r"precision 0\.7 was not calibrated; expected one of 0\.8, 0\.9, 0\.95"):
        predictor.tag(tiny_picture("red", 0), precision=0.7)


def test_confidences_are_the_shares_of_all_entities(predictor):
    tags = predictor.tag(tiny_picture("red", 0), k=6)
    odds = np.exp(predictor.model.scale * np.array([tag.score for tag in tags]))
    assert [tag.confidence for tag in tags] == pytest.approx((odds / odds.sum()).tolist(), abs=1e-5)


def test_each_precision_has_its_own_threshold(predictor):
    picture = tiny_picture("red", 0)
    confidences = [tag.confidence for tag in predictor.tag(picture)]
    thresholds = {"0.8": confidences[3], "0.99": confidences[0]}
    card = predictor.model.card.model_copy(update={"thresholds": thresholds})
    calibrated = replace(predictor, model=replace(predictor.model, card=card))
    sure = {p: sum(t.above_threshold for t in calibrated.tag(picture, precision=p)) for p in (0.8, 0.9, 0.99)}
    assert sure == {0.8: 4, 0.9: 0, 0.99: 1}


def test_a_name_typed_exactly_wins_whatever_the_model_thinks(predictor):
    for colour, pictures in zip(COLOURS, (14, 7, 6, 5, 4, 4), strict=True):
        hits = predictor.search(f"kx-{colour}", k=40)
        assert [hit.entity for hit in hits[:pictures]] == [f"KX-{colour.upper()}"] * pictures
        assert [hit.exact for hit in hits] == [True] * pictures + [False] * (40 - pictures)
        for part in (hits[:pictures], hits[pictures:]):
            assert [hit.score for hit in part] == sorted((hit.score for hit in part), reverse=True)
        assert predictor.search(f"{colour} kettle", k=3, target="entities")[0].exact


def test_free_text_is_ranked_by_similarity(predictor):
    hits = predictor.search("something round", k=40)
    scores = predictor.pictures.vectors @ predictor.embed_texts(["something round"])[0]
    assert [hit.score for hit in hits] == pytest.approx(np.sort(scores)[::-1].tolist(), abs=1e-5)
    assert len({hit.pair_id for hit in hits}) == 40
    assert not any(hit.exact for hit in hits)


def test_a_picture_finds_itself_first(predictor):
    (hit,) = predictor.search(image=tiny_picture("green", 2), k=1)
    assert (hit.entity, hit.score) == ("KX-GREEN", pytest.approx(1, abs=1e-5))
    assert hit.path == "green/2.png"


def test_text_and_picture_together_lie_between(predictor):
    text, image = "a kettle", tiny_picture("blue", 1)
    (both,) = predictor.search(text, image, k=1)
    halves = predictor.embed_texts([text])[0] + predictor.embed_images([image])[0]
    expected = predictor.pictures.vectors @ (halves / np.linalg.norm(halves))
    assert both.score == pytest.approx(expected.max(), abs=1e-5)


def test_entity_search_uses_the_requested_index(predictor):
    query = predictor.embed_texts(["something round"])[0]
    halfway = (predictor.entities.vectors["caption"] + predictor.entities.vectors["explanation"]) / 2
    for kind, vectors in (predictor.entities.vectors | {"mixed": halfway}).items():
        hits = predictor.search("something round", k=6, index=kind, target="entities")
        assert {h.entity: h.score for h in hits} == pytest.approx(
            dict(zip(predictor.entities.rows["entity"], (vectors @ query).tolist(), strict=True)), abs=1e-5
        )
        assert all(hit.pair_id is None for hit in hits)


def test_match_of_a_name_is_the_score_of_its_tag(predictor):
    picture = tiny_picture("orange", 0)
    tags = {tag.entity: tag.score for tag in predictor.tag(picture, k=6)}
    assert predictor.similarity(picture, "KX-ORANGE") == pytest.approx(tags["KX-ORANGE"], abs=1e-5)
    vectors = predictor.embed_images([picture])[0] @ predictor.embed_texts(["a drawing"])[0]
    assert predictor.similarity(picture, "a drawing") == pytest.approx(float(vectors), abs=1e-6)


def test_more_hits_than_there_are_gives_all(predictor):
    assert len(predictor.search("disc", k=10**6)) == 40
    assert len(predictor.tag(tiny_picture("red", 0), k=10**6)) == 6


def test_about_describes_the_package(predictor):
    facts = predictor.about()
    assert (facts.entities, facts.pictures, facts.dimension) == (6, 40, 32)
    assert facts.fingerprint == predictor.model.card.fingerprint
    assert (facts.mixture["few"], facts.thresholds) == (MIXTURE["few"], {"0.9": 0.2})


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "neither a text nor a picture"),
        ({"text": "  \u3000"}, "the text is empty"),
        ({"text": "x", "k": 0}, "k is 0"),
        ({"text": "x", "k": -3}, "k is -3"),
        ({"text": "x", "index": "best"}, "index 'best' is unknown"),
        ({"text": "x", "target": "prices"}, "target 'prices' is unknown"),
    ],
)
def test_impossible_questions_are_refused(predictor, question, message):
    with pytest.raises(ConfigError, match=message):
        predictor.search(**question)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["\0", "🫖" * 3000, "a" * 100_000, "‮abc", "日本語の説明"])
def test_strange_texts_get_an_answer(predictor, text):
    assert len(predictor.search(text, k=2)) == 2


def test_package_without_picture_index_still_tags(tmp_path, package):
    shutil.copytree(package, tmp_path / "p")
    shutil.rmtree(PackageLayout(tmp_path / "p").pictures.root)
    predictor = Predictor.load(tmp_path / "p")
    assert predictor.about().pictures == 0
    assert len(predictor.tag(tiny_picture("red", 0))) == 5
    assert predictor.search("KX-RED", k=1, target="entities")[0].exact
    with pytest.raises(ConfigError, match="no picture index"):
        predictor.search("KX-RED")


def test_package_of_mixed_origin_is_refused(tmp_path, package):
    shutil.copytree(package, tmp_path / "p")
    tiny_model(tmp_path / "p", seed=1)
    with pytest.raises(IndexMismatch):
        Predictor.load(tmp_path / "p")
    shutil.rmtree(PackageLayout(tmp_path / "p").entities.root)
    with pytest.raises(DataError, match="missing or half-written"):
        Predictor.load(tmp_path / "p")
    PackageLayout(tmp_path / "p").checkpoint.card.unlink()
    with pytest.raises(CheckpointError):
        Predictor.load(tmp_path / "p")


def test_a_search_filters_by_the_tags_and_dates_of_the_data(tmp_path):
    model, data = tiny_model(tmp_path / "model"), tiny_data(tmp_path / "data")
    rows = list(pairs.iter_rows(data.entities))
    tagged = [row | {"tags": ["屋外"] if i < 2 else [], "date": f"2026-11-0{i + 1}"} for i, row in enumerate(rows)]
    pairs.write_rows(data.entities, pairs.ENTITIES, tagged, name="entities")
    predictor = Predictor(model, EntityIndex.build(model, data), PictureIndex.build(model, data))

    def found(target: Literal["pictures", "entities"], **where: Any) -> set[str]:
        return {hit.entity for hit in predictor.search("kettle", k=50, target=target, where=Filter(**where))}

    for target in ("pictures", "entities"):
        assert found(target, tags=("屋外",)) == {rows[0]["entity"], rows[1]["entity"]}
        assert found(target, since=datetime.date(2026, 11, 6)) == {rows[5]["entity"]}
        assert found(target, until=datetime.date(2026, 11, 1)) == {rows[0]["entity"]}
