"""What is read on pictures: a table of the data version, searchable text, and a vocabulary of calibrated weight."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.data.erasure import ErasureRequest, Subject, without
from entityclip.data.label_cache import LabelCache
from entityclip.data.label_lines import copy_label_lines, read_label_lines
from entityclip.data.labels import LabelReader
from entityclip.evaluation import label_calibration
from entityclip.evaluation.label_calibration import calibrated_vocabulary
from entityclip.explanations.pii import without_personal_data
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import ChangesLayout, DataLayout
from entityclip.retrieval.index import Changes, EntityIndex, FullText, PictureIndex
from entityclip.retrieval.picture_labels import label_texts, label_words, read_labels
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry, Evidence, Label

WORDS = {"KX-RED": "apelsin", "KX-GREEN": "peruna", "KX-BLUE": "mellanmjolk", "KX-ORANGE": "omena"}
PHONE = "090-1234-5678"


def printed(row: dict[str, object]) -> list[str]:
    """The lines on a drawn picture: a shared word, the product's own one, a phone number; nothing on two products."""
    own = WORDS.get(str(row["entity"]))
    return [] if own is None else ["ARLA", own.upper(), f"Tel. {PHONE}"]


def filled_cache(path: Path, data: DataLayout, lines: Callable[[dict[str, object]], list[str]] = printed) -> LabelCache:
    """A cache that knows every picture of the data, so that no reader is needed."""
    cache = LabelCache(path, screen=without_personal_data)
    for row in pairs.iter_rows(data.pairs):
        labels = tuple(Label(text=line, confidence=0.9, box=(0, 0, 1, 1)) for line in lines(row))
        cache.put(hashlib.sha256(row["image"]["bytes"]).hexdigest(), labels)
        cache.put(row["image_sha256"], labels)
    return cache


def no_reader() -> LabelReader:
    raise AssertionError("a picture that is in the cache is read again")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    folder = tmp_path_factory.mktemp("labels")
    data = tiny_data(folder / "data")
    with filled_cache(folder / "labels.sqlite", data) as cache:
        read_labels(data, no_reader, cache)
    return data


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"), thresholds={"0.9": 0.1})


# ---------------------------------------------------------------- the table
def test_pictures_are_read_up_to_a_number_for_each_entity_and_split(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    with filled_cache(tmp_path / "labels.sqlite", data) as cache:
        counts = read_labels(data, no_reader, cache, most=2)
        before = {path.name: path.read_bytes() for path in data.labels.iterdir()}
        again = read_labels(data, no_reader, cache, most=2)
    rows = pairs.read_frame(data.pairs).merge(pairs.read_frame(data.labels), on="image_sha256")
    each = rows.groupby(["entity", "split"]).size()
    assert each.max() == 2
    assert each["KX-RED", "train"] == 2
    assert each["KX-ORANGE", "train"] == 1
    with_text = int(rows["lines"].map(len).gt(0).sum())
    assert (counts.pictures, counts.with_text, counts.read_now) == (len(rows), with_text, 0)
    assert again == counts
    assert {path.name: path.read_bytes() for path in data.labels.iterdir()} == before


def test_personal_data_is_neither_in_the_cache_nor_in_the_table(data: DataLayout) -> None:
    lines = read_label_lines(data)
    assert lines is not None
    assert not any(PHONE in line for row in lines["lines"] for line in row)
    assert PHONE.encode() not in (data.root.parent / "labels.sqlite").read_bytes()
    assert "rapidocr" in lines["reader"].iloc[0]


def test_rows_follow_their_pictures(data: DataLayout, tmp_path: Path) -> None:
    copy = DataLayout(tmp_path / "copy")
    kept = [row for row in pairs.iter_rows(data.pairs) if row["entity"] == "KX-RED"]
    pairs.write_rows(copy.pairs, pairs.PAIRS, kept, name="train")
    copy_label_lines(data, into=copy)
    assert set(pairs.read_frame(copy.labels)["image_sha256"]) <= {row["image_sha256"] for row in kept}
    plain = tiny_data(tmp_path / "plain")
    copy_label_lines(plain, into=DataLayout(tmp_path / "other"))
    assert read_label_lines(DataLayout(tmp_path / "other")) is None


def test_an_erased_word_leaves_the_table_and_an_erased_product_takes_its_rows_along(
    data: DataLayout, tmp_path: Path
) -> None:
    word = Subject(ErasureRequest(kind="text", value="peruna"))
    without(data, word, into=DataLayout(tmp_path / "word"))
    assert "peruna" not in set(label_words(DataLayout(tmp_path / "word"))["word"])
    product = Subject(ErasureRequest(kind="entity", value="KX-BLUE"))
    without(data, product, into=DataLayout(tmp_path / "product"))
    assert set(label_words(DataLayout(tmp_path / "product"))["word"]) == {"arla", "apelsin", "peruna", "omena"}


def test_words_are_those_of_a_split_or_of_all(data: DataLayout, tmp_path: Path) -> None:
    trained = label_words(data, split="train")
    assert set(trained["word"]) == {"arla", *WORDS.values()}
    assert set(trained["entity_id"]) == {pairs.entity_id(name) for name in WORDS}
    assert len(label_words(data)) > len(trained)
    assert label_words(tiny_data(tmp_path / "plain")).empty
    assert label_texts(tiny_data(tmp_path / "plain")) is None


# ---------------------------------------------------------------- the weight of words
def test_words_that_agree_with_validation_pictures_count_and_others_do_not(
    data: DataLayout, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    fallback = calibrated_vocabulary(model, data, entities=entities, pictures=pictures, complete=False)
    monkeypatch.setattr(label_calibration, "FEWEST", 4)
    good = calibrated_vocabulary(model, data, entities=entities, pictures=pictures)
    assert good.factor > 0
    assert len(good.words) > len(fallback.words)
    swapped = tiny_data(tmp_path / "swapped")
    names = list(WORDS)

    def lines(row: dict[str, object]) -> list[str]:
        """On validation pictures the word of another product."""
        if row["entity"] not in WORDS or row["split"] != "val":
            return printed(row)
        return [WORDS[names[names.index(str(row["entity"])) - 1]]]

    with LabelCache(tmp_path / "labels.sqlite", screen=tuple) as cache:
        for row in pairs.iter_rows(swapped.pairs):
            found = tuple(Label(text=line, confidence=0.9, box=(0, 0, 1, 1)) for line in lines(row))
            cache.put(row["image_sha256"], found)
        read_labels(swapped, no_reader, cache)
    assert calibrated_vocabulary(model, swapped, entities=entities, pictures=pictures).factor == 0


def test_the_compared_pictures_are_drawn_from_all_in_the_order_of_the_index(
    data: DataLayout, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = PictureIndex.build(model, data)
    every, _ = label_calibration._queries(data, pictures)
    monkeypatch.setattr(label_calibration, "PICTURES", 3)
    some, words = label_calibration._queries(data, pictures)
    drawn = every.rows["pair_id"].isin(sorted(every.rows["pair_id"])[:3])  # ids are hashes
    assert list(some.rows["pair_id"]) == list(every.rows["pair_id"][drawn])
    assert np.array_equal(some.vectors, every.vectors[drawn])
    assert len(words) == 3


def test_the_words_of_a_product_come_with_the_most_telling_first(data: DataLayout, model: LoadedModel) -> None:
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    vocabulary = calibrated_vocabulary(model, data, entities=entities, pictures=pictures)
    assert vocabulary.words_of(pairs.entity_id("KX-RED"), most=5) == ["apelsin", "arla"]
    assert vocabulary.words_of(pairs.entity_id("KX-RED"), most=1) == ["apelsin"]
    assert vocabulary.words_of("unknown", most=5) == []


# ---------------------------------------------------------------- search
@pytest.fixture
def predictor(data: DataLayout, model: LoadedModel) -> Predictor:
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    text = FullText.create(entities.rows, pictures.rows, labels=label_texts(data))
    return Predictor(model, entities, pictures, text)


def on_label(evidence: tuple[Evidence, ...]) -> list[Evidence]:
    return [why for why in evidence if why.by == "label"]


def test_a_word_on_a_picture_finds_the_picture_and_its_product(predictor: Predictor) -> None:
    products = predictor.search("apelsin", target="entities", k=6)
    assert products[0].entity == "KX-RED"
    (why,) = on_label(products[0].why)
    assert "APELSIN" in why.text
    assert not any(on_label(hit.why) for hit in products[1:])
    hits = predictor.search("Apelsin arla", k=30)
    labelled = [hit for hit in hits if on_label(hit.why)]
    assert {hit.entity for hit in labelled} == {"KX-RED"}
    assert all(on_label(hit.why)[0].pair_id == hit.pair_id for hit in labelled)
    assert [hit.entity for hit in hits[:3]] == ["KX-RED"] * 3


def test_without_a_table_nothing_is_found_by_words_on_pictures(predictor: Predictor) -> None:
    plain = Predictor(predictor.model, predictor.entities, predictor.pictures)
    assert not any(on_label(hit.why) for hit in plain.search("apelsin", target="entities"))
    first, second = (p.search("a red disc", target="entities") for p in (plain, predictor))
    assert first == second


def test_a_removed_product_is_not_found_by_its_label(predictor: Predictor, tmp_path: Path) -> None:
    changes = Changes(ChangesLayout(tmp_path / "changes"), fingerprint=predictor.model.card.fingerprint)
    changed = Predictor(predictor.model, predictor.entities, predictor.pictures, predictor.text, changes)
    changed.put_entity(EntityEntry(entity="KX-RED"))
    assert changed.search("apelsin", target="entities")[0].entity == "KX-RED"
    changed.remove_entity(pairs.entity_id("KX-RED"))
    assert not any(on_label(hit.why) for hit in changed.search("apelsin", target="entities", k=9))


def test_a_table_without_text_makes_an_empty_vocabulary(model: LoadedModel, tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    with filled_cache(tmp_path / "labels.sqlite", data, lambda _: []) as cache:
        assert read_labels(data, no_reader, cache).with_text == 0
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    vocabulary = calibrated_vocabulary(model, data, entities=entities, pictures=pictures)
    assert (len(vocabulary.entities), vocabulary.factor) == (0, 0)
    texts = label_texts(data)
    assert isinstance(texts, pd.DataFrame)
    assert FullText.create(entities.rows, pictures.rows, labels=texts).labels(["p"]) == {}
    assert not np.any(vocabulary.ratios(["apelsin"]))
