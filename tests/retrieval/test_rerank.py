"""The matching head judges the first K again: as the plain way would, and it counts only where it helps."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.retrieval.rerank import (
    WEIGHTS,
    Reranked,
    RerankReport,
    calibrate_rerank,
    log_odds,
    measure_rerank,
    rerank,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def entities(model: LoadedModel, data: DataLayout) -> EntityIndex:
    return EntityIndex.build(model, data, pictures=PictureIndex.build(model, data, split="train"))


def weighted(model: LoadedModel, weight: float) -> LoadedModel:
    return replace(model, card=model.card.model_copy(update={"rerank": weight}))


@torch.inference_mode()
def plain_odds(model: LoadedModel, image: Image.Image, name: str, explanation: str) -> float:
    """One picture, one entity, through the model as training sees them."""
    preprocessing = model.card.preprocessing
    pixels = preprocessing.normalise(torch.from_numpy(preprocessing.square(image)[None]))
    triple = (
        model.model.image_tokens(pixels),
        model.model.text_tokens(model.tokenizer([name])),
        model.model.text_tokens(model.tokenizer([explanation])),
    )
    attended = model.model.mmae(*triple)
    logits = model.model.mmae.match_logits(attended, triple[2], pairs=torch.zeros(1, 2, dtype=torch.long))
    return float(logits[0, 1] - logits[0, 0])


def test_head_reads_the_name_and_the_explanation_without_it(model, entities):
    picture = tiny_picture("red", 1)
    rows = np.array([5, 0, 2])
    judged = rerank(model, entities, [picture], rows=rows, similarities=np.zeros(3))
    texts = [
        ("KX-BLACK", ""),
        ("KX-RED", "The this product has a body like a red disc."),
        ("KX-BLUE", "The this product has a body like a blue disc."),
    ]
    odds = np.array([plain_odds(model, picture, *text) for text in texts])
    assert judged.match == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
    assert len(set(judged.match.round(6))) == 3


def test_pictures_reranked_together_get_what_each_gets_alone(model, entities):
    preprocessing = model.card.preprocessing
    squares = np.stack([preprocessing.square(tiny_picture(colour, 2)) for colour in ("red", "green", "black")])
    candidates = np.array([[0, 1], [5, 0], [3, 5]])
    with torch.inference_mode():
        tokens = model.model.image_tokens(preprocessing.normalise(torch.from_numpy(squares)))
    together = log_odds(model, entities, tokens, candidates)
    for i, row in enumerate(candidates):
        alone = log_odds(model, entities, tokens.rows(torch.tensor([i])), row[None])[0]
        assert together[i] == pytest.approx(alone, abs=1e-5)


def test_weight_of_the_card_decides_how_much_the_head_counts(model, entities):
    picture, rows = tiny_picture("blue", 0), np.arange(6)
    similarities = np.linspace(0.5, 0, 6, dtype=np.float32)
    order = {w: rerank(weighted(model, w), entities, [picture], rows=rows, similarities=similarities) for w in (0, 1e6)}
    assert order[0].order.tolist() == list(range(6))
    assert order[1e6].order.tolist() == np.argsort(-order[1e6].match, kind="stable").tolist()
    assert order[1e6].order.tolist() != list(range(6))


def test_only_the_first_tags_change_places(model, entities):
    picture = tiny_picture("green", 1)
    predictor = Predictor(weighted(model, 1e6), entities, None)
    plain, again = predictor.tag(picture, k=6), predictor.tag(picture, k=6, rerank=4)
    assert [tag.entity for tag in again[4:]] == [tag.entity for tag in plain[4:]]
    assert {tag.entity for tag in again[:4]} == {tag.entity for tag in plain[:4]}
    matches = [tag.match for tag in again[:4]]
    assert matches == sorted(matches, reverse=True)
    assert [tag.match for tag in again[4:]] == [tag.match for tag in plain[4:]] == [None, None]
    assert {t.entity: t.confidence for t in again} == pytest.approx({t.entity: t.confidence for t in plain})


def test_the_best_of_the_reranked_comes_in_even_where_fewer_are_wanted(model, entities):
    picture = tiny_picture("green", 1)
    predictor = Predictor(weighted(model, 1e6), entities, None)
    likeliest = max(predictor.tag(picture, k=6, rerank=6), key=lambda tag: tag.match)
    (hit,) = predictor.search(image=picture, k=1, target="entities", rerank=6)
    assert (hit.entity, hit.match, hit.exact) == (likeliest.entity, pytest.approx(likeliest.match), False)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": "a disc", "target": "entities"}, "query with a picture alone"),
        ({"text": "a disc", "target": "pictures"}, "query with a picture alone"),
        ({"image": tiny_picture("red", 0), "text": "a", "target": "entities"}, "query with a picture alone"),
        ({"image": tiny_picture("red", 0), "target": "pictures"}, "for entities"),
    ],
)
def test_questions_that_cannot_be_reranked_are_refused(model, entities, question, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(model, entities, None).search(**question, rerank=5)


@pytest.mark.parametrize("count", [-1, 101])
def test_impossible_number_to_rerank_is_refused(model, entities, count):
    with pytest.raises(ConfigError, match=f"rerank is {count}; expected 0 to 100"):
        Predictor(model, entities, None).tag(tiny_picture("red", 0), rerank=count)


def test_model_without_a_matching_head_is_refused(tmp_path, data):
    headless = tiny_model(tmp_path, config={"loss": {"eta": 0.0}})
    with pytest.raises(ConfigError, match="trained without the matching term"):
        measure_rerank(headless, data, first=3)
    assert calibrate_rerank(headless, data) == 0


def test_index_without_texts_is_refused(model, entities):
    early = replace(entities, rows=entities.rows.drop(columns="explanation"))
    with pytest.raises(DataError, match="build it again"):
        Predictor(model, early, None).tag(tiny_picture("red", 0), rerank=2)


# ---------------------------------------------------------------- gain and cost
def test_report_counts_what_the_predictor_does(model, entities, data):
    report = measure_rerank(model, data, split="test", first=4)
    assert [tried.weight for tried in report.weights] == list(WEIGHTS)
    strongest = Predictor(weighted(model, WEIGHTS[-1]), entities, None)
    plain, again = [], []
    for row in pairs.iter_rows(data.pairs, name="test"):
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        plain.append(strongest.tag(picture, k=1)[0].entity_id == row["entity_id"])
        again.append(strongest.tag(picture, k=1, rerank=4)[0].entity_id == row["entity_id"])
    assert report.pictures == len(plain) == 18
    assert report.weights[0].recall["all"] == pytest.approx(100 * np.mean(plain))
    assert report.weights[-1].recall["all"] == pytest.approx(100 * np.mean(again))
    assert report.weights[-1].gain == pytest.approx(100 * (np.mean(again) - np.mean(plain)))
    assert report.weights[0].gain == report.weights[0].low == report.weights[0].high == 0
    assert report.search_ms > 0
    assert report.rerank_ms > 0


def reported(*gains: tuple[float, float, float]) -> RerankReport:
    tried = [Reranked(weight=w, recall={}, gain=g, low=low, high=2 * g - low) for w, g, low in gains]
    return RerankReport(split="val", first=10, pictures=9, weights=tuple(tried), search_ms=1, rerank_ms=1)


def test_head_counts_only_where_its_gain_is_sure():
    assert reported((0, 0, 0), (0.1, 2.0, 0.5), (1, 1.0, 0.9)).helpful() == 0.1
    assert reported((0, 0, 0), (0.1, 2.0, -0.5)).helpful() == 0
    assert reported((0, 0, 0), (0.1, -2.0, -3)).helpful() == 0


def test_untrained_head_is_switched_off(model, data, tmp_path):
    assert calibrate_rerank(model, data) == 0
    empty = tiny_data(tmp_path / "empty")
    pairs.write_rows(empty.pairs, pairs.PAIRS, [], name="val")
    assert calibrate_rerank(model, empty) == 0


def test_split_without_pictures_is_an_error(model, tmp_path):
    data = tiny_data(Path(tmp_path))
    pairs.write_rows(data.pairs, pairs.PAIRS, [], name="test")
    with pytest.raises(DataError, match="holds no picture"):
        measure_rerank(model, data, split="test")
