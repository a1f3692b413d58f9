"""Words on an entity's own pictures: rare ones distinguish it from its siblings, common ones do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.errors import DataError
from entityclip.paths import PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.label_vocabulary import COLUMNS, FACTORS, MOST_RATIO, LabelVocabulary, trigrams
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry, Label

GREY = Image.new("RGB", (40, 36), (150, 150, 150))
PRINTED = {
    "KX-RED": ("juice", ("tropicana", "apelsin", "juice")),
    "KX-GREEN": ("juice", ("tropicana", "apple", "juice")),
    "KX-BLUE": ("milk", ("arla", "mellanmjolk")),
    "KX-ORANGE": ("milk", ("arla", "lattmjolk")),
}


def words(pictures: int = 3) -> pd.DataFrame:
    rows = [
        (pairs.entity_id(name), category, f"{name} {picture}", word)
        for name, (category, printed) in PRINTED.items()
        for picture in range(pictures)
        for word in printed
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture(scope="module")
def vocabulary() -> LabelVocabulary:
    return LabelVocabulary.fit(words())


def best_of(vocabulary: LabelVocabulary, *read: str) -> str:
    names = {pairs.entity_id(name): name for name in PRINTED}
    return names[vocabulary.entities[int(vocabulary.ratios(read).argmax())]]


def test_a_rare_word_finds_its_entity_even_if_a_letter_is_misread(vocabulary: LabelVocabulary) -> None:
    assert best_of(vocabulary, "apelsin") == "KX-RED"
    assert best_of(vocabulary, "ape1sin", "tropicana") == "KX-RED"
    assert best_of(vocabulary, "mellanmjo1k") == "KX-BLUE"


def test_a_word_that_siblings_share_distinguishes_categories_not_siblings(vocabulary: LabelVocabulary) -> None:
    ratios = dict(zip(vocabulary.entities, vocabulary.ratios(["arla"]), strict=True))
    blue, orange, red = (ratios[pairs.entity_id(f"KX-{name}")] for name in ("BLUE", "ORANGE", "RED"))
    assert blue == pytest.approx(orange, abs=0.5)
    assert blue > red + 3


def test_unknown_words_say_nothing(vocabulary: LabelVocabulary) -> None:
    assert not vocabulary.ratios(["zzzz"]).any()
    assert not vocabulary.ratios([]).any()


def test_words_alone_are_never_worth_more_than_the_limit(vocabulary: LabelVocabulary) -> None:
    ratios = vocabulary.ratios(["tropicana", "apelsin", "juice", "apple"])
    assert ratios.max() <= MOST_RATIO
    assert ratios.min() >= -MOST_RATIO
    assert len(set(ratios.round(3))) > 1


def test_words_that_are_drawn_at_random_get_no_weight() -> None:
    rng = np.random.default_rng(0)
    drawn = words()
    drawn["word"] = rng.choice(["tropicana", "arla", "mellan", "juice", "apple"], len(drawn))
    assert LabelVocabulary.fit(drawn).factor <= min(FACTORS[1:])
    assert LabelVocabulary.fit(words()).factor > min(FACTORS[1:])
    assert LabelVocabulary.fit(words()[:0]).factor == 0


def test_the_word_that_speaks_most_for_an_entity_is_named(vocabulary: LabelVocabulary) -> None:
    ids = [pairs.entity_id(name) for name in ("KX-RED", "KX-GREEN", "KX-PURPLE")]
    assert vocabulary.telling(["tropicana", "apelsin"], ids)[0] == "apelsin"
    assert vocabulary.telling(["tropicana", "apelsin"], ids)[1:] == ["tropicana", ""]
    assert vocabulary.telling([], ids) == ["", "", ""]


def test_a_vocabulary_is_the_same_from_its_file(vocabulary: LabelVocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "labels.parquet")
    again = LabelVocabulary.load(tmp_path / "labels.parquet")
    assert again.factor == vocabulary.factor
    assert again.ratios(["apelsin"]).tolist() == vocabulary.ratios(["apelsin"]).tolist()
    (tmp_path / "broken").write_bytes(b"no table")
    for path in (tmp_path / "broken", tmp_path / "none"):
        with pytest.raises(DataError, match="package the release again"):
            LabelVocabulary.load(path)


def test_trigrams_mark_where_a_word_begins_and_ends() -> None:
    assert trigrams(["ab", "abc"]) == {"^ab": 2, "ab$": 1, "abc": 1, "bc$": 1}


# ---------------------------------------------------------------- in a predictor
@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, vocabulary: LabelVocabulary) -> Predictor:
    folder = tmp_path_factory.mktemp("words")
    data, model = tiny_data(folder / "data"), tiny_model(folder, thresholds={"0.9": 0.1})
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    return Predictor(model, entities, pictures, vocabulary=vocabulary)


def read(*lines: str) -> list[Label]:
    return [Label(text=line, confidence=0.99, box=(0.1, 0.1 * i, 0.9, 0.1 * i + 0.1)) for i, line in enumerate(lines)]


def test_words_move_an_entity_up_and_are_shown_with_their_box(predictor: Predictor) -> None:
    labels = read("Tropicana", "APELSIN juice")
    first, second, *_ = predictor.tag(GREY, labels=labels)
    assert first.entity == "KX-RED"
    assert (first.why[0].by, first.why[0].text, first.why[0].box) == ("label words", "apelsin", labels[1].box)
    assert first.confidence > second.confidence
    assert predictor.tag(GREY, labels=read("ARLA", "lättmjolk"))[0].entity == "KX-ORANGE"


def test_words_make_no_tag_sure_that_the_look_is_not_sure_of(predictor: Predictor) -> None:
    sure = {tag.entity for tag in predictor.tag(GREY, k=9) if tag.above_threshold}
    labels = read("Tropicana", "APELSIN juice")
    assert {tag.entity for tag in predictor.tag(GREY, k=9, labels=labels) if tag.above_threshold} <= sure


def test_an_exact_code_counts_more_than_words(predictor: Predictor) -> None:
    found = predictor.tag(GREY, labels=read("KX-BLUE", "Tropicana", "APELSIN"))
    assert {tag.entity: [why.by for why in tag.why][:1] for tag in found}["KX-BLUE"] == ["label"]


def test_of_an_entity_that_was_changed_in_service_the_vocabulary_says_nothing(
    predictor: Predictor, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    model = tiny_model(package)
    data = tiny_data(tmp_path / "data")
    pictures = PictureIndex.build(model, data)
    EntityIndex.build(model, data, pictures=pictures).save(PackageLayout(package).entities)
    pictures.save(PackageLayout(package).pictures)
    assert predictor.vocabulary is not None
    predictor.vocabulary.save(PackageLayout(package).labels)
    changed = Predictor.load(package, changes=tmp_path / "changes")
    assert changed.vocabulary is not None
    assert changed.tag(GREY, labels=read("apelsin"))[0].entity == "KX-RED"
    changed.put_entity(EntityEntry(entity="KX-RED"))
    red = next(tag for tag in changed.tag(GREY, labels=read("apelsin"), k=9) if tag.entity == "KX-RED")
    assert all(why.by != "label words" or why.text for why in red.why)
    changed.remove_entity(pairs.entity_id("KX-RED"))
    assert "KX-RED" not in {tag.entity for tag in changed.tag(GREY, labels=read("apelsin"), k=9)}


def test_without_a_vocabulary_words_say_nothing(predictor: Predictor) -> None:
    plain = replace(predictor, vocabulary=None)
    assert plain.tag(GREY, labels=read("Tropicana", "APELSIN")) == plain.tag(GREY)
