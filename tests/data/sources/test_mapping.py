"""What a mapping file may say, and that every mistake in it is named with line, key, value and what is allowed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entityclip.data.sources import SourceOptions, open_source
from entityclip.data.sources.table import TableMapping, TableSource
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import Layout

SOUND = """\
file: 写真
entity: 商品コード
explanations: 説明文
tags: 札
entities:
  aliases: 商品名
  explanations: [説明文, 説明文2]
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    return tmp_path / "mapping.yaml"


def refused(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        TableMapping.read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: not a usable table mapping: ")
    return str(caught.value)


def test_one_column_needs_no_list(mapping: Path) -> None:
    mapping.write_text(SOUND, encoding="utf-8")
    read = TableMapping.read(mapping)
    assert read.explanations == ("説明文",)
    assert read.tags == ("札",)
    assert read.entities.aliases == ("商品名",)
    assert read.entities.explanations == ("説明文", "説明文2")
    assert TableMapping.model_validate({"explanations": []}).explanations == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file: a\nexplanation: 説明文\n", ["line 2", "explanation", "'説明文'", "is 'explanations' meant", "caption"]),
        ("file: a\naliases: 商品名\n", ["line 2", "aliases", "'商品名'", "under 'entities:'"]),
        ("entities:\n  table: a.csv\n  alias: b\n", ["line 3", "entities.alias", "'b'", "'aliases'", "category"]),
        ("file: a\n\nentity: 204\n", ["line 3", "entity", "204", "quote it: '204'"]),
        ("explanations: [a, 12]\n", ["line 1", "explanations", "['a', 12]", "quote it: '12'", "list of names"]),
        ("licence: no\n", ["line 1", "licence", "False", "yes, no, on and off"]),
        ("date: 2026-01-01\n", ["line 1", "date", "quote it: '2026-01-01'"]),
        ("file: [a, b]\n", ["line 1", "file", "['a', 'b']", "the name of a column"]),
        ("file: ''\n", ["line 1", "file", "''", "the name of a column"]),
        ("entities: products.csv\n", ["line 1", "entities", "'products.csv'"]),
        ("entities:\n  table: [1]\n", ["line 2", "entities.table", "[1]", "path"]),
        ("shared_pictures: keep\n", ["line 1", "shared_pictures", "'keep'", "'refuse' or 'merge'"]),
        ("file: a\nfile: b\n", ["lines 1 and 2", "file", "there twice"]),
        ("file: 'a\n", ["line", "not YAML", "quote"]),
        ("file: a\n\tentity: b\n", ["line 2", "not YAML"]),
        ("file：写真\n", ["line 1", "'file：写真'", "half-width ':'"]),
        ("- a\n", ["line 1", "['a']", "role: column"]),
        ("file: 2026-99-99\n", ["month"]),
        ("file: \0\n", ["special characters are not allowed"]),
        ("file: 写真\n".encode("cp932"), ["not UTF-8", "save it as UTF-8"]),
        ("[" * 5000, ["nested too deeply"]),
    ],
)
def test_a_mistake_is_named_with_line_key_value_and_what_is_allowed(
    mapping: Path, text: str | bytes, expected: list[str]
) -> None:
    message = refused(mapping, text)
    assert [part for part in expected if part not in message] == []


def test_every_mistake_is_named_at_once(mapping: Path) -> None:
    message = refused(mapping, "files: a\nentity: 1\nentities:\n  alias: b\n")
    assert all(f"line {line}: " in message for line in (1, 2, 4))


def test_a_mapping_that_is_missing_says_so(mapping: Path) -> None:
    with pytest.raises(ConfigError, match=r"mapping\.yaml: .*cannot be read: No such file"):
        TableMapping.read(mapping)


def test_a_mapping_saved_with_a_byte_order_mark_is_read(mapping: Path) -> None:
    mapping.write_text(SOUND, encoding="utf-8-sig")
    assert TableMapping.read(mapping).file == "写真"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("caption: titel", ["line 3: caption: ", "no column 'titel'; it has: 写真, 品名"]),
        ("tags: [品名, 札]", ["line 3: tags: ", "no column '札'; it has: 写真, 品名"]),
        ("images: photos", ["line 3: images: ", "photos: the image folder is not there", "relative to"]),
        (
            "encoding: shift-jisx",
            ["line 3: encoding: ", "no text encoding 'shift-jisx'; write for example"],
        ),
        ("encoding: ascii", ["line 3: encoding: ", "is not ascii"]),
        ("entities:\n  table: x.csv", ["line 4: entities.table: ", "x.csv: no such table"]),
        (
            "entities:\n  table: p.csv\n  aliases: 別名",
            ["line 5: entities.aliases: ", "no column '別名'; it has:"],
        ),
    ],
)
def test_what_does_not_fit_the_tables_names_the_line_of_the_mapping(
    tmp_path: Path, mapping: Path, lines: str, expected: list[str]
) -> None:
    (tmp_path / "p.csv").write_text("写真,品名\na.jpg,遮断器\n", encoding="utf-8")
    mapping.write_text(f"file: 写真\nentity: 品名\n{lines}\n", encoding="utf-8")
    with pytest.raises(EntityClipError) as caught:
        open_source(SourceOptions(source="table", path=tmp_path / "p.csv", mapping=mapping), layout=Layout(tmp_path))
    assert str(caught.value).startswith(f"{mapping}, line ")
    assert [part for part in expected if part not in str(caught.value)] == []


def test_the_place_of_a_key_is_no_part_of_the_fingerprint(tmp_path: Path, mapping: Path) -> None:
    (tmp_path / "p.csv").write_text("写真,品名\na.jpg,遮断器\n", encoding="utf-8")
    prints = set()
    for text in ("file: 写真\nentity: 品名\n", "\n\nentity: 品名\nfile: 写真\n"):
        mapping.write_text(text, encoding="utf-8")
        prints.add(TableSource(tmp_path / "p.csv", mapping=TableMapping.read(mapping)).fingerprint())
    assert len(prints) == 1


KEYS = st.sampled_from([*TableMapping.model_fields, "aliases", "table", "entities", "説明文", "?", "- x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, VALUES.map(repr) | st.text(max_size=8)), max_size=4))
def test_a_mapping_of_rubbish_is_read_or_refused_and_never_a_crash(
    mapping: Path, entries: list[tuple[str, str]]
) -> None:
    mapping.write_text("".join(f"{key}: {value}\n" for key, value in entries), encoding="utf-8", newline="")
    with suppress(ConfigError):
        TableMapping.read(mapping)
