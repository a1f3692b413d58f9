"""Claims of a first run: probes that learn from the texts of the source find a wrong colour in a writer's text."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.synthetic.attribute_faults import with_attribute_fault
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.paths import Layout
from entityclip.quality.claims.claim_model import FEWEST_ENTITIES
from entityclip.quality.claims.claim_table import contradictions
from entityclip.quality.claims.first_run import first_run_claims
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.model_scores import EntityPictures, entity_pictures
from entityclip.quality.tower_pictures import PretrainedTower

PRODUCTS = 80


class SeesNothing:
    """A tower whose vectors say nothing: what is found is found by the colours."""

    dim = 4

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        count = len(list(images))
        return np.random.default_rng(count).normal(size=(count, self.dim)).astype(np.float32)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("catalog"))
    source = CatalogSource(layout.drawn, products=PRODUCTS, faults=False)
    ingest(source, staging=layout.staging, rejected=layout.rejected("b"), progress=False)
    return layout


@pytest.fixture(scope="module")
def pictures(catalog: Layout) -> EntityPictures:
    return entity_pictures(SeesNothing(), catalog.staging, set(entities(catalog)["entity_id"]), each=4)


def entities(layout: Layout) -> pd.DataFrame:
    return pairs.read_frame(layout.staging.entities)


def written(*, wrong: int = 0) -> pd.DataFrame:
    """One text of each product; the first ``wrong`` ones name another colour of the body."""
    rows = []
    for number, product in enumerate(invent(PRODUCTS, seed=7)):
        text = explain(product, seed=7)["explanation_b"]
        if number < wrong:
            rng = random.Random(number)
            text = with_attribute_fault(product, "colour", language="en", seed=7, rng=rng)["explanation_b"]
        rows.append((f"t{number}", pairs.entity_id(product.code), text, "en"))
    return pd.DataFrame(rows, columns=["explanation_id", "entity_id", "text", "language"])


def test_wrong_colours_are_contradicted_and_true_ones_are_not(catalog: Layout, pictures: EntityPictures) -> None:
    source = pairs.read_frame(catalog.staging.source_provided)
    texts = written(wrong=20)
    claims = first_run_claims(texts, source, entities(catalog), pictures, read_vocabulary())
    assert claims is not None
    found = contradictions(claims, len(texts)).notna()
    assert found[:20].mean() >= 0.8
    assert found[20:].mean() <= 0.05
    colours = claims[(claims["attribute"] == "colour") & (claims["position"] >= 20)]
    assert (colours["verdict"] == "supported").mean() > 0.6
    assert "supported" not in set(claims.loc[claims["attribute"] == "label", "verdict"])  # not by its colours


def test_a_source_with_few_texts_is_no_measure(catalog: Layout, pictures: EntityPictures) -> None:
    source = pairs.read_frame(catalog.staging.source_provided)
    few = source[source["entity_id"].isin(source["entity_id"].unique()[: FEWEST_ENTITIES - 1])]
    for some in (few, source.iloc[:0], source.assign(text="A fine thing.")):
        assert first_run_claims(written(), some, entities(catalog), pictures, read_vocabulary()) is None


def test_texts_in_a_language_of_which_the_source_has_none_are_not_checkable(
    catalog: Layout, pictures: EntityPictures, tmp_path: Path
) -> None:
    source = pairs.read_frame(catalog.staging.source_provided)
    texts = written().assign(text="本体は赤色です。", language="ja")
    claims = first_run_claims(texts, source, entities(catalog), pictures, read_vocabulary())
    assert claims is not None
    assert set(claims["verdict"]) == {"not checkable"}


class CountsPictures(SeesNothing):
    """The same, with the name of a tower; it counts what it embeds."""

    name, fingerprint, seen = "counts", "f" * 8, 0

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        vectors = super().embed_images(images)
        self.seen += len(vectors)
        return vectors


def test_each_picture_is_embedded_once_and_a_damaged_file_is_made_again(catalog: Layout, tmp_path: Path) -> None:
    counts, every = CountsPictures(), set(entities(catalog)["entity_id"])
    tower = PretrainedTower(counts, tmp_path / "kept")  # type: ignore[arg-type]
    some = tower.pictures(catalog.staging, set(sorted(every)[:30]))
    assert counts.seen == len(some.owners)
    whole = tower.pictures(catalog.staging, every)
    assert counts.seen == len(whole.owners)
    again = tower.pictures(catalog.staging, every)
    assert counts.seen == len(again.owners)
    assert again.owners == whole.owners
    assert (again.vectors == whole.vectors).all()
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert tower.pictures(catalog.staging, every).owners == whole.owners
    assert counts.seen == 2 * len(whole.owners)
    unkept = PretrainedTower(counts).pictures(catalog.staging, every)  # type: ignore[arg-type]
    assert (unkept.colours == whole.colours).all()
