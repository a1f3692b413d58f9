"""JSON files read member by member: what they hold, wherever a chunk ends, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entityclip.data.sources import json_stream
from entityclip.data.sources.json_stream import JsonList, json_object
from entityclip.errors import SourceError
from entityclip.schemas import Rejection

VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "train.json"


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [3, 2**20])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.sampled_from([None, 1]))
def test_an_object_is_what_json_load_makes_of_it(file, monkeypatch, chunk, members: dict[str, Any], indent):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    file.write_text(json.dumps(members, indent=indent, ensure_ascii=False), encoding="utf-8", newline="")
    assert dict(json_object(file)) == members


@pytest.mark.parametrize("chunk", [1, 2**20])
def test_a_list_is_a_table_whose_cells_are_text(file, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    file.write_text('\ufeff [ {"id": 007e1, "b": " x "},{"id":12345, "c":["y", null]} , 8, "z" ]\n'.replace("007", "7"))
    articles = JsonList(file)
    assert len(articles) == 4
    assert articles.columns == ("id", "b", "c")
    first, second, third, fourth = articles.rows()
    assert first == (1, {"id": ("7e1",), "b": ("x",)})
    assert second == (2, {"id": ("12345",), "c": ("y",)})
    assert third == Rejection(file="train.json", row=3, reason="expected a JSON object, found a text or number")
    assert isinstance(fourth, Rejection)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"character 1: expected \[, but the file ends"),
        ('{"a": 1}', r"expected \["),
        ('[{"a": 1}', r"expected \], but the file ends"),
        ('[{"a": 1} {"a": 2}]', r"character 11: expected \]"),
        ('[{"a": 1},]', "character 11: Expecting value"),
        ('[{"a": "never closed]', "character 2: Unterminated string"),
        ("[1] []", r"there is more after the closing \]"),
        ("[1", r"expected \], but the file ends"),
        ("[" * 100_000, "nested too deeply"),
        ("version https://git-lfs.github.com/spec/v1", r"expected \["),
    ],
)
def test_anything_but_one_whole_list_is_refused_and_the_place_is_named(file, text, expected):
    file.write_text(text)
    with pytest.raises(SourceError, match=expected):
        JsonList(file)


def test_a_quote_that_is_never_closed_does_not_read_the_whole_file(file, monkeypatch):
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    file.write_text('[{"a": "' + "x" * 100_000 + '"}]')
    with pytest.raises(SourceError, match="character 2"):
        JsonList(file)


def test_another_encoding_is_refused(file):
    file.write_bytes('["é"]'.encode("cp1252"))
    with pytest.raises(SourceError, match="not UTF-8"):
        JsonList(file)


def test_keys_of_an_object_are_in_quotes(file):
    file.write_text('{"a": "x", 3: "y"}')
    with pytest.raises(SourceError, match="expected a key in quotes"):
        list(json_object(file))
