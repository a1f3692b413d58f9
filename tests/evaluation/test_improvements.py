"""What would raise recall, on vectors that are drawn so that the right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip.evaluation.evaluate import evaluate
from entityclip.evaluation.improvements import added, explanations_behind, find_improvements, left_out
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex, slice_of
from entityclip.retrieval.vectors import unit
from entityclip.schemas import Mixture

DIM = 24
IMAGES_ALONE = {
    group: Mixture(caption=0, explanation=0, images=1) for group in ("frequent", "few", "one", "untrained")
} | {"none": Mixture(caption=0, explanation=1, images=0)}


class World:
    """Products with a true vector each; a picture is that vector with noise, an explanation with a little."""

    def __init__(self, *train_pictures: int, noise: float = 0.3, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.counts, self.noise = np.array(train_pictures), noise
        self.true = unit(self.rng.normal(size=(len(train_pictures), DIM)))
        texts = unit(self.true + 0.1 * self.rng.normal(size=self.true.shape))
        ids = [f"e{number:03d}" for number in range(len(train_pictures))]
        self.rows = pd.DataFrame(
            {
                "entity_id": ids,
                "entity": [f"KX-{number:03d}" for number in range(len(ids))],
                "category": "kettle",
                "train_pictures": self.counts,
                "slice": [slice_of(count) for count in train_pictures],
                "pictures": self.counts,
                "has_explanation": True,
            }
        )
        self.texts = texts
        self.known = self.pictures(self.counts)

    def pictures(self, counts: np.ndarray | int) -> PictureIndex:
        owner = np.repeat(np.arange(len(self.rows)), counts)
        vectors = unit(self.true[owner] + self.noise * self.rng.normal(size=(len(owner), DIM)))
        rows = pd.DataFrame({"entity_id": self.rows["entity_id"].to_numpy()[owner]})
        return PictureIndex("model", rows, vectors)

    def index(self, known: PictureIndex | None = None) -> EntityIndex:
        texts = {"caption": self.texts, "explanation": self.texts}
        index = EntityIndex("model", self.rows, texts, IMAGES_ALONE)
        return index.with_pictures(self.known if known is None else known)

    def recall(self, index: EntityIndex, queries: PictureIndex) -> float:
        truth = index.rows_of(queries.rows["entity_id"])
        ranked = metrics.ranks(queries.vectors, index.vectors["mixed"], truth, offset=index.offsets["mixed"])
        return 100 * float((ranked.rank == 1).mean())


def joined(*parts: PictureIndex) -> PictureIndex:
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    return replace(parts[0], rows=rows, vectors=np.concatenate([part.vectors for part in parts]))


@pytest.fixture(scope="module")
def world() -> World:
    return World(*[2] * 40, *[12] * 40, *[0] * 40)


def test_one_more_picture_is_worth_what_it_turns_out_to_be_worth(world: World) -> None:
    index, queries = world.index(), world.pictures(5)
    found = find_improvements(index, world.known, queries, world.pictures(0), seed=0)
    by_fewest = {row.fewest: row for row in found.one_more_picture}
    truth = {}
    for fewest, products in ((2, range(40)), (10, range(40, 80)), (0, range(80, 120))):
        fresh, gains = joined(*(world.pictures(5) for _ in range(4))), []
        row = np.isin(np.arange(len(world.rows)), products)
        its = fresh.rows["entity_id"].isin(world.rows["entity_id"][row])
        theirs = replace(fresh, rows=fresh.rows[its], vectors=fresh.vectors[its.to_numpy()])
        for _ in range(8):  # all products of the row are photographed once more
            more = world.index(joined(world.known, world.pictures(row.astype(int))))
            gains.append(world.recall(more, theirs) - world.recall(index, theirs))
        truth[fewest] = float(np.mean(gains))
    assert truth[2] > 5 > truth[10]
    for fewest, gain in truth.items():
        row = by_fewest[fewest]
        assert (row.method, row.products, row.judged) == ("measured", 40, 40)
        assert row.low - 3 <= gain <= row.high + 3
    assert by_fewest[2].gain > by_fewest[10].gain
    assert by_fewest[2].helped > by_fewest[10].helped
    assert by_fewest[1].products == 0
    assert by_fewest[1].method is None


def test_a_model_that_sees_all_pictures_alike_gains_nothing_from_another_one() -> None:
    world = World(*[0] * 40)
    queries = world.pictures(3)
    alike = unit(world.true[:1] + 1e-3 * world.rng.normal(size=queries.vectors.shape))
    seen = replace(queries, vectors=alike)
    row = find_improvements(world.index(), world.known, seen, world.pictures(0), seed=0).one_more_picture[0]
    assert (row.fewest, row.method) == (0, "measured")
    assert row.gain is not None
    assert abs(row.gain) < 5  # the only product with a picture would come first for all of them


def test_where_no_other_picture_is_left_the_next_is_estimated_from_the_last(world: World) -> None:
    alone = world.pictures(1)  # one query of each product, and nothing that could be added
    found = find_improvements(world.index(), world.known, alone, world.pictures(0), seed=0)
    by_fewest = {row.fewest: row for row in found.one_more_picture}
    assert by_fewest[2].method == "estimated"
    assert by_fewest[0].method is None  # never photographed: there is no last picture either
    assert found.photograph == ()
    many = world.pictures(20)
    measured = added(world.index(), world.known, many, world.pictures(0))
    estimated = left_out(world.index(), world.known, many)
    gains = [100 * float((gain.after - gain.now)[gain.entity < 40].mean()) for gain in (measured, estimated)]
    assert 1 < gains[1] < gains[0] + 1  # cautious: these pictures of a product differ a lot


def test_the_product_that_gains_most_is_photographed_first() -> None:
    odd = World(*[12] * 40, noise=0.15)
    known = odd.known
    spoilt = (known.rows["entity_id"] == "e007").to_numpy()
    vectors = known.vectors.copy()
    vectors[spoilt] = odd.true[3]  # its pictures show another product
    rows = known.rows[~spoilt | (np.cumsum(spoilt) <= 1)]
    few = replace(known, rows=rows, vectors=vectors[rows.index])
    index = odd.index(few)
    first = find_improvements(index, few, odd.pictures(5), odd.pictures(0), seed=0).photograph[0]
    assert (first.entity, first.pictures) == ("KX-007", 5)
    assert first.r1 < first.with_one_more


def test_a_wrong_explanation_is_to_be_rewritten_first_and_names_what_it_describes() -> None:
    world = World(*[2] * 60, *[0] * 60, noise=0.15)
    index = world.index()
    texts = world.texts.copy()
    texts[11] = unit(world.true[None, 25])[0]  # describes another product
    index = replace(index, vectors=index.vectors | {"explanation": texts})
    found, judged = explanations_behind(index, [world.pictures(4), world.pictures(1)])
    assert judged == 120
    assert (found[0].entity, found[0].found, found[0].pictures) == ("KX-011", 0, 5)
    assert found[0].siblings > 80
    assert found[0].mistaken_for != "KX-011"
    assert [poor.entity for poor in found[1:]] in ([], ["KX-025"])  # whose pictures the wrong text claims


def test_products_without_an_explanation_are_not_judged(world: World) -> None:
    index = world.index()
    index = replace(index, rows=index.rows.assign(has_explanation=index.rows["entity"] != "KX-011"))
    found, judged = explanations_behind(index, [world.pictures(3)])
    assert judged == 119
    assert "KX-011" not in [poor.entity for poor in found]


def test_an_evaluation_reports_improvements_only_where_they_are_wanted(tmp_path) -> None:
    model, data = tiny_model(tmp_path / "model"), tiny_data(tmp_path / "data")
    assert evaluate(model, data, progress=False)[0].improvements is None
    found = evaluate(model, data, improvements=True, progress=False)[0].improvements
    assert found is not None
    assert [row.products for row in found.one_more_picture] == [2, 1, 1, 1, 1]
    assert found.judged == 5  # the last product has no explanation
    val = evaluate(model, data, split="val", improvements=True, progress=False)[0].improvements
    assert val is not None
    assert {row.method for row in val.one_more_picture} == {None}  # fewer than five products in each row
