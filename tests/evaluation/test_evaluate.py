"""The evaluator on a real model and real pictures, and what its report may be compared with."""

import io
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import COLOURS, tiny_data, tiny_model, tiny_picture

from entityclip.data import pairs
from entityclip.data.split_groups import ALIKE
from entityclip.errors import DataError
from entityclip.evaluation.evaluate import evaluate, evaluation_hash
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import EvalReport


class Counting(LoadedModel):
    """Counts what it embeds."""

    seen: dict[str, int]

    def embed_images(self, images: Iterable[Image.Image], **options: Any) -> np.ndarray:
        vectors = super().embed_images(images, **options)
        self.seen["images"] += len(vectors)
        return vectors

    def embed_texts(self, texts: Any, **options: Any) -> np.ndarray:
        self.seen["texts"] += len(texts)
        return super().embed_texts(texts, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def evaluated(model: LoadedModel, data: DataLayout) -> tuple[EvalReport, pd.DataFrame]:
    return evaluate(model, data, progress=False)


@pytest.mark.parametrize("kind", ["caption", "explanation", "images", "mixed"])
def test_ranks_and_recall_are_those_of_the_plain_product(model, data, evaluated, kind):
    report, queries = evaluated
    taught, pictures = (PictureIndex.build(model, data, split=split) for split in ("train", "test"))
    entities = EntityIndex.build(model, data, pictures=taught)
    scores = pd.DataFrame(entities.similarities(pictures.vectors, kind), columns=entities.rows["entity_id"])
    true = [row[entity] for entity, (_, row) in zip(pictures.rows["entity_id"], scores.iterrows(), strict=True)]
    expected = (scores.to_numpy() >= np.array(true)[:, None] - 1e-6).sum(axis=1)
    found = queries[queries["index"] == kind]
    assert found["rank"].tolist() == expected.tolist()
    assert found["best"].tolist() == scores.idxmax(axis=1).tolist()
    assert found["true_score"].to_numpy() == pytest.approx(np.array(true))
    assert report.value("R@1", index=kind) == pytest.approx(100 * np.mean(expected == 1))
    assert report.value("mean_rank", index=kind) == pytest.approx(np.mean(expected))
    assert 1 < report.value("mean_rank", index=kind) < 6  # an untrained model: neither all right nor all wrong


def test_entities_retrieve_their_pictures(evaluated):
    report, _ = evaluated
    for kind in ("caption", "explanation", "images", "mixed"):
        assert 0 < report.value("mAP", index=kind, direction="text_to_image") < 100
        assert report.value("P@10", index=kind, direction="text_to_image") <= 30  # three pictures each
    (of_map,) = [m for m in report.metrics if (m.name, m.index, m.slice) == ("mAP", "mixed", "all")]
    assert of_map.queries == 6


def test_every_picture_is_tagged_once_more_without_its_own_entity(evaluated):
    report, queries = evaluated
    known = queries[queries["index"] == "mixed"]
    assert known[["confidence", "unknown_confidence"]].notna().all(axis=None)
    assert known["open_set"].isna().all()  # the card has no rule
    others = queries[queries["index"] != "mixed"]
    assert others[["confidence", "unknown_confidence"]].isna().all(axis=None)
    assert 0 <= report.open_set_value("auroc") <= 100
    assert report.open_set_value("false_accept_at_0.9") == 0  # nor has it thresholds
    assert report.open_set_value("coverage_at_0.9") == 0


def test_slices_with_fewer_than_five_queries_are_left_out(evaluated):
    report, _ = evaluated
    found = {(m.slice, m.queries) for m in report.metrics if (m.name, m.index) == ("R@1", "mixed")}
    assert found == {("all", 18), ("few", 6), ("none", 6), ("category=kettle", 18), ("language=en", 18)}


def test_repeated_captions_are_not_queried_one_by_one(evaluated):
    report, queries = evaluated
    assert "pairs" not in {m.index for m in report.metrics}
    assert len(queries) == 4 * 18


def test_recall_is_also_given_without_near_duplicates_of_training_pictures(tmp_path, model, evaluated):
    before, queries = evaluated
    assert (before.near_duplicates, before.without_near_duplicates) == (None, ())  # data of before they were looked for
    data = tiny_data(tmp_path)
    pictures = pairs.read_frame(data.pairs, columns=["pair_id", "image_sha256", "entity_id", "split"])
    trained, tested = (pictures[pictures["split"] == split] for split in ("train", "test"))
    both = trained.drop_duplicates("entity_id").merge(tested, on="entity_id").drop_duplicates("entity_id")
    assert len(both) == 4
    near = [(row.image_sha256_x, row.image_sha256_y) for row in both.itertuples()]
    near.append((trained["image_sha256"].iloc[0], tested["image_sha256"].iloc[-1]))  # of another entity
    rows = [{"image_sha256": one, "near_sha256": other, "kind": ALIKE} for one, other in near]
    pairs.write_rows(data.near_duplicates, pairs.NEAR_DUPLICATES, rows, name="near_duplicates")
    report, _ = evaluate(model, data, progress=False)
    assert report.near_duplicates == 4
    assert report.metrics == before.metrics
    left = queries[(queries["index"] == "mixed") & ~queries["pair_id"].isin(both["pair_id_y"])]
    (figure,) = [m for m in report.without_near_duplicates if (m.index, m.name) == ("mixed", "R@1")]
    assert figure.queries == len(left) == 14
    assert figure.value == pytest.approx(100 * (left["rank"] == 1).mean())
    assert {m.slice for m in report.without_near_duplicates} == {"all"}


def test_distinct_captions_are_queried_both_ways(tmp_path, model):
    report, queries = evaluate(model, tiny_data(tmp_path, held_out=1), progress=False)
    for direction in ("image_to_text", "text_to_image"):
        ranks = queries.query("index == 'pairs' and direction == @direction")["rank"]
        assert len(ranks) == 6
        assert report.value("R@1", index="pairs", direction=direction) == pytest.approx(100 * (ranks == 1).mean())
    assert set(queries.query("index == 'pairs'")["best"]) <= set(queries["pair_id"])


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    """Thirty articles, twelve of them in test; the last of those has no explanation."""
    data = DataLayout(tmp_path_factory.mktemp("news"))
    pairs.start(data)
    rows, entities, texts = [], [], []
    for number in range(30):
        entity, caption = pairs.entity_id(f"n24news:{number}"), f"Person {number} speaks."
        file = io.BytesIO()
        tiny_picture(COLOURS[number % 6], number).rotate(15 * number).save(file, format="PNG")
        about = {"entity_id": entity, "entity": caption, "language": "en", "source": "n24news"}
        entities.append(about | {"aliases": [], "category": "", "licence": ""})
        split = "test" if number >= 18 else "train"
        image = {"bytes": file.getvalue(), "path": f"{number}.png"}
        rows.append(about | {"pair_id": f"pair{number}", "caption": caption, "split": split, "image": image})
        text = {"entity_id": entity, "text": f"This is about number {number}, a person.", "caption": caption}
        texts.append(text | {"language": "en", "generator": "source", "prompt_version": "1", "explanation_id": caption})
    for split in ("train", "test"):
        pairs.write_rows(data.pairs, pairs.PAIRS, [r for r in rows if r["split"] == split], name=split)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, texts[:-1], name="explanations")
    pairs.finish(data, pairs=len(rows))
    return data


def test_news_are_measured_among_the_pictures_and_texts_of_the_split_in_both_directions(model, news):
    report, queries = evaluate(model, news, progress=False)
    assert (report.candidates, report.entities, report.pictures) == ("split", 12, 12)
    pictures = PictureIndex.build(model, news, split="test")
    texts = {
        "pairs": model.embed_texts(list(pictures.rows["caption"])),
        "explanation": EntityIndex.build(model, news, among=set(pictures.rows["entity_id"])).vectors["explanation"],
    }
    assert texts["explanation"][-1] == pytest.approx(texts["pairs"][-1], abs=1e-5)
    for index, vectors in texts.items():
        scores = pictures.vectors @ vectors.T
        rank = (scores >= scores.diagonal()[:, None] - 1e-6).sum(axis=1)
        of_text = (scores >= scores.diagonal() - 1e-6).sum(axis=0)
        for direction, expected in (("image_to_text", rank), ("text_to_image", of_text)):
            for name, value in (
                *((f"R@{k}", 100 * np.mean(expected <= k)) for k in (1, 5, 10)),
                ("mean_rank", np.mean(expected)),
                ("median_rank", np.median(expected)),
            ):
                assert report.value(name, index=index, direction=direction) == pytest.approx(value)
    assert {m.name for m in report.metrics} == {"R@1", "R@5", "R@10", "mean_rank", "median_rank"}
    assert queries.groupby(["index", "direction"]).size().to_dict() == {
        ("caption", "image_to_text"): 12,
        ("explanation", "image_to_text"): 12,
        ("mixed", "image_to_text"): 12,
        ("pairs", "image_to_text"): 12,
        ("pairs", "text_to_image"): 12,
    }


def test_articles_of_other_splits_are_never_embedded(model, news):
    counting = Counting(model.model, model.card, model.tokenizer, model.device)
    object.__setattr__(counting, "seen", {"images": 0, "texts": 0})
    evaluate(counting, news, progress=False)
    assert counting.seen == {"images": 12, "texts": 12 + 11}


def test_candidates_can_be_named_and_reports_about_others_are_not_comparable(model, news, data, evaluated):
    everything, _ = evaluate(model, news, candidates="all", progress=False)
    assert (everything.candidates, everything.entities) == ("all", 30)
    assert everything.evaluation_hash != evaluate(model, news, progress=False)[0].evaluation_hash
    some, _ = evaluate(model, data, candidates="split", progress=False)
    assert (some.candidates, some.entities, some.pictures) == ("split", 6, 18)
    assert some.value("mAP", index="mixed", direction="text_to_image") is not None
    assert evaluated[0].candidates == "all"


def test_a_slice_that_holds_every_query_has_the_figures_of_all(evaluated):
    report, _ = evaluated
    of = {name: [m for m in report.metrics if m.slice == name] for name in ("all", "language=en", "few")}
    assert [m.model_copy(update={"slice": "all"}) for m in of["language=en"]] == of["all"]
    assert [m.value for m in of["few"]] != [m.value for m in of["all"]]


def test_every_picture_and_text_is_embedded_once(model, data):
    counting = Counting(model.model, model.card, model.tokenizer, model.device)
    object.__setattr__(counting, "seen", {"images": 0, "texts": 0})
    evaluate(counting, data, progress=False)
    assert counting.seen == {
        "images": 16 + 18,
        "texts": 6 + 5,
    }  # pictures of the training split stand for their entities


def test_evaluating_twice_gives_the_same_report(model, data, evaluated):
    report, queries = evaluate(model, data, progress=False)
    assert report.model_copy(update={"seconds": 0}) == evaluated[0].model_copy(update={"seconds": 0})
    assert queries.equals(evaluated[1])
    assert EvalReport.model_validate_json(report.model_dump_json()) == report


def test_probes_are_spread_over_the_slices(evaluated):
    report, queries = evaluated
    queried = queries.drop_duplicates("pair_id").set_index("pair_id")
    assert len({probe.pair_id for probe in report.probes}) == 5
    assert {queried.loc[probe.pair_id, "slice"] for probe in report.probes} == {"frequent", "few", "one", "none"}
    mixed = queries[queries["index"] == "mixed"].set_index("pair_id")
    for probe in report.probes:
        assert len(probe.scores) == 5
        assert max(probe.scores.values()) == pytest.approx(mixed.loc[probe.pair_id, "score"], abs=1e-6)


def test_evaluation_hash_follows_the_questions_and_nothing_else(tmp_path, model, data, evaluated):
    entities, pictures = EntityIndex.build(model, data), PictureIndex.build(model, data, split="test")
    known = evaluated[0].evaluation_hash

    def hashed(rows: pd.DataFrame, candidates: pd.DataFrame) -> str:
        return evaluation_hash(replace(entities, rows=candidates), replace(pictures, rows=rows), split="test")

    shuffled = pictures.rows.sample(frac=1, random_state=0), entities.rows.sample(frac=1, random_state=0)
    assert hashed(*shuffled) == known
    assert hashed(pictures.rows.assign(caption="better"), entities.rows.assign(entity="renamed")) == known
    assert hashed(pictures.rows.iloc[1:], entities.rows) != known
    assert hashed(pictures.rows, entities.rows.iloc[1:]) != known
    assert hashed(pictures.rows, entities.rows.assign(slice="few")) != known
    assert tiny_model(tmp_path, seed=1).card.fingerprint != model.card.fingerprint
    other, _ = evaluate(tiny_model(tmp_path, seed=1), data, progress=False)
    assert other.evaluation_hash == known


def test_split_without_pictures_is_an_error(tmp_path, model):
    data = tiny_data(tmp_path)
    pairs.write_rows(data.pairs, pairs.PAIRS, [], name="test")
    with pytest.raises(DataError, match="'test' holds no picture"):
        evaluate(model, data, progress=False)


def test_picture_of_an_unknown_entity_is_an_error(tmp_path, model):
    data = tiny_data(tmp_path)
    row = next(pairs.iter_rows(data.pairs, name="test"))
    pairs.write_rows(data.pairs, pairs.PAIRS, [row | {"entity_id": "nobody"}], name="test")
    with pytest.raises(DataError, match="nobody"):
        evaluate(model, data, progress=False)
