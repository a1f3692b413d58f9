"""The words of attributes: the packaged list, a workspace's own, and what the texts add."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.errors import ConfigError
from entityclip.quality.claims.mining import mined
from entityclip.quality.claims.vocabulary import Vocabulary, read_vocabulary


def without(vocabulary: Vocabulary, values: set[str]) -> Vocabulary:
    """The vocabulary without these values, whose names they are."""
    return Vocabulary(
        words={
            language: {name: tuple(v for v in some if v[0] not in values) for name, some in of.items()}
            for language, of in vocabulary.words.items()
        }
    )


def new_words(before: Vocabulary, after: Vocabulary, language: str) -> dict[str, set[str]]:
    """Attribute -> the values that only ``after`` has."""
    return {
        name: new
        for name, some in after.values(language).items()
        if (new := {value[0] for value in some} - {value[0] for value in before.values(language)[name]})
    }


@pytest.mark.parametrize(
    ("language", "removed"), [("en", {"purple", "pink", "checks"}), ("ja", {"紫", "桃色", "白", "市松模様"})]
)
def test_words_that_no_list_has_are_found_by_their_neighbours(language: str, removed: set[str]) -> None:
    write = explain if language == "en" else explain_in_japanese
    rows = [(p.code, p.look.kind, text) for p in invent(200, seed=7) for text in write(p, seed=7).values()]
    texts = pd.DataFrame(rows, columns=["entity_id", "category", "text"]).assign(language=language)
    less = without(read_vocabulary(), removed)
    found = new_words(less, mined(less, texts, texts, texts["text"].tolist()), language)
    assert removed <= set().union(*found.values())
    assert set(found) == {"colour", "pattern"}


def test_marks_in_a_text_are_no_attributes() -> None:
    texts = pd.DataFrame({"entity_id": ["a", "b"], "category": "kettle", "language": "en"})
    texts["text"] = ["A <b>red</b> kettle <colour> with a <switch>", "青い‹特徴> やかん"]
    known = read_vocabulary()
    assert mined(known, texts, texts, texts["text"].tolist()).words.keys() == known.words.keys()


def test_a_workspace_edits_the_words_as_yaml_and_they_read_back_alike(tmp_path: Path) -> None:
    file = tmp_path / "attributes.yaml"
    assert read_vocabulary(file) == read_vocabulary()
    read_vocabulary().write_yaml(file)
    assert read_vocabulary(file) == read_vocabulary()
    file.write_text("en: {colour: [teal, [grey, gray]]}\n")
    assert read_vocabulary(file).spellings("en", "colour") == {"teal": ("teal",), "grey": ("grey", "gray")}
    assert read_vocabulary(file).values("ja-JP") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en: {colour: [red, [crimson, Red]]}", "'Red' is colour 'red' and colour 'crimson'"),
        ("en: {colour: [red], label: [red]}", "a spelling states one value"),
        ("en: {colour: [[]]}", "expected language, attribute, and a list of values"),
        ("en: [red]", "expected language, attribute, and a list of values"),
        ("en: {colour: [", "cannot be read as YAML"),
    ],
)
def test_impossible_words_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "attributes.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_vocabulary(file)
    assert str(file) in str(error.value)
