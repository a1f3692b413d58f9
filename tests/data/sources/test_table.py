"""A user's table: what is read, which rows are refused and why, and which tables are refused as a whole."""

from __future__ import annotations

import csv
import datetime
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources import SourceOptions, open_source
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.mapping import EntityMapping, TableMapping
from entityclip.data.sources.table import TableSource
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import DataLayout, Layout
from entityclip.retrieval.index.filters import Facets
from entityclip.schemas import Filter, Rejection

ROWS = [
    {"file": "a.jpg", "caption": "Pump 00123", "entity": "00123", "split": "train"},
    {"file": "b.jpg", "caption": "Pump 1E5", "entity": "1E5", "split": ""},
    {"file": "c.jpg", "caption": "NA", "entity": "NA", "split": "test"},
]


@pytest.fixture
def folder(tmp_path, picture_bytes) -> Path:
    """Three pictures, and no table yet."""
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / f"{name}.jpg").write_bytes(picture_bytes(number))
    return tmp_path


def write_csv(path: Path, rows: list[dict[str, str]], *, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def usable(source: TableSource) -> list[PictureRow]:
    return [row for row in source.pictures() if isinstance(row, PictureRow)]


def reasons(source: TableSource) -> list[str]:
    return [row.reason for row in source.pictures() if isinstance(row, Rejection)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolons", "jsonl", "parquet", "bom", "cp932", "cp932 by name"])
def test_every_kind_of_table_gives_the_same_rows_with_model_numbers_untouched(kind, folder):
    mapping = TableMapping(encoding="cp932" if kind == "cp932 by name" else None)
    rows = [ROWS[0] | {"caption": "ポンプ 00123"}, *ROWS[1:]]
    if kind == "jsonl":
        write_jsonl(folder / "pictures.jsonl", rows)
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(folder / "pictures.parquet")
    else:
        encoding = {"bom": "utf-8-sig", "cp932": "cp932", "cp932 by name": "cp932"}.get(kind, "utf-8")
        delimiter = {"tsv": "\t", "semicolons": ";"}.get(kind, ",")
        write_csv(
            folder / f"pictures.{'tsv' if kind == 'tsv' else 'csv'}", rows, delimiter=delimiter, encoding=encoding
        )
    source = TableSource(folder, mapping=mapping)
    assert len(source) == 3
    assert reasons(source) == []
    assert [(r.row, r.caption, r.entity, r.split) for r in usable(source)] == [
        (1, "ポンプ 00123", "00123", "train"),
        (2, "Pump 1E5", "1E5", None),
        (3, "NA", "NA", "test"),
    ]


def test_numbers_in_jsonl_and_parquet_keep_their_spelling(folder):
    (folder / "pictures.jsonl").write_text('{"file": "a.jpg", "entity": 1E5}\n{"file": "b.jpg", "entity": null}\n')
    source = TableSource(folder)
    assert [row.entity for row in usable(source)] == ["1E5"]
    assert reasons(source)[0] == "neither entity nor caption"


def test_columns_may_have_any_name_and_several_may_describe_an_entity(folder):
    write_csv(folder / "shots.csv", [{"photo": "a.jpg", "sku": "KX-1", "title": "A pump"}])
    product = {"sku": "KX-1", "en": "Pump", "ja": "ポンプ", "text": "It is blue.", "more": "It has a handle."}
    write_csv(folder / "master.csv", [product, product | {"sku": "", "text": ""}])
    (folder / "mapping.yaml").write_text(
        "file: photo\nentity: sku\ncaption: title\ndefault_language: ja\n"
        "entities: {table: master.csv, entity: sku, aliases: [en, ja], explanations: [text, more]}\n"
    )
    source = open_source(
        SourceOptions(source="table", path=folder / "shots.csv", mapping=folder / "mapping.yaml"), layout=Layout(folder)
    )
    assert source.language == "ja"
    picture = next(iter(source.pictures()))
    assert isinstance(picture, PictureRow)
    assert (picture.entity, picture.caption) == ("KX-1", "A pump")
    entity, rejected = source.entities()
    assert entity == EntityRow(
        entity="KX-1", row=1, aliases=("Pump", "ポンプ"), explanations=("It is blue.", "It has a handle.")
    )
    assert isinstance(rejected, Rejection)
    assert (rejected.file, rejected.row, rejected.reason) == ("master.csv", 2, "no entity in column 'sku'")


def test_licence_and_consent_are_read_from_any_column_of_either_table(folder):
    write_csv(folder / "pictures.csv", [{"file": "a.jpg", "entity": "KX-1", "licence": "MIT", "同意": "撤回"}])
    write_csv(folder / "entities.csv", [{"entity": "KX-1", "rights": "CC0", "consent": "yes"}])
    mapping = TableMapping(consent="同意", entities=EntityMapping(licence="rights"))
    source = TableSource(folder, mapping=mapping)
    (picture, *_), (entity,) = usable(source), source.entities()
    assert (picture.licence, picture.consent) == ("MIT", "撤回")
    assert isinstance(entity, EntityRow)
    assert (entity.licence, entity.consent) == ("CC0", "yes")


def test_lists_in_jsonl_are_several_texts(folder):
    write_jsonl(folder / "pictures.jsonl", [{"file": "a.jpg", "entity": "KX-1"}])
    write_jsonl(folder / "entities.jsonl", [{"entity": "KX-1", "aliases": ["Pump", None, "ポンプ"]}])
    entity = next(iter(TableSource(folder).entities()))
    assert isinstance(entity, EntityRow)
    assert entity.aliases == ("Pump", "ポンプ")


def test_entity_and_caption_stand_in_for_each_other_where_a_column_is_missing(folder):
    write_csv(folder / "pictures.csv", [{"file": "a.jpg", "entity": "KX-1"}])
    assert usable(TableSource(folder))[0].caption == "KX-1"
    write_csv(folder / "pictures.csv", [{"file_name": "a.jpg", "text": "KX-2"}])  # as Hugging Face names them
    assert usable(TableSource(folder))[0].entity == "KX-2"


def test_an_empty_caption_passes_so_that_the_gate_sees_it(folder):
    write_csv(folder / "pictures.csv", [ROWS[0] | {"caption": ""}])
    assert usable(TableSource(folder))[0].caption == ""


def test_a_ragged_row_is_refused_and_the_others_are_read(folder):
    (folder / "pictures.csv").write_text("file,entity\na.jpg,A\n\nb.jpg\nb.jpg,B,extra\nc.jpg,C\n")
    source = TableSource(folder)
    assert [(row.row, row.entity) for row in usable(source)] == [(1, "A"), (4, "C")]
    assert reasons(source)[:2] == ["1 fields, but the header has 2", "3 fields, but the header has 2"]


def test_a_line_that_is_no_json_object_is_refused_and_the_others_are_read(folder):
    lines = ['{"file": "a.jpg", "entity": "A"}', "{oops", "[1]", '{"file": "b.jpg", "entity": "\\ud800B"}']
    (folder / "pictures.jsonl").write_text("\n".join(lines) + "\n")
    source = TableSource(folder)
    assert [row.entity for row in usable(source)] == ["A", "?B"]
    assert reasons(source)[0].startswith("not JSON")
    assert reasons(source)[1] == "expected a JSON object, found list"


@pytest.mark.parametrize(
    ("captions", "mapping", "language"),
    [
        (("赤いポンプ", "PX-1 のふた", "NA"), TableMapping(), "ja"),
        (("ｱｶｲ ﾎﾟﾝﾌﾟ", "PX-1 ﾌﾀ", "NA"), TableMapping(), "ja"),
        (("A red pump", "赤いポンプ", "NA・1"), TableMapping(), "en"),
        (("赤いポンプ", "青いふた", "弁です"), TableMapping(default_language="en"), "en"),
    ],
)
def test_language_is_that_of_most_rows_where_the_mapping_names_none(folder, captions, mapping, language):
    rows = [row | {"caption": text} for row, text in zip(ROWS, captions, strict=True)]
    write_csv(folder / "pictures.csv", rows)
    assert TableSource(folder, mapping=mapping).language == language


def test_files_that_no_row_names_are_reported(folder):
    write_csv(folder / "pictures.csv", ROWS[:1])
    strays = [row for row in TableSource(folder).pictures() if isinstance(row, Rejection)]
    assert [(row.file, row.row) for row in strays] == [("b.jpg", None), ("c.jpg", None)]


def test_the_fingerprint_notices_an_edited_picture_and_nothing_else(folder, picture_bytes):
    write_csv(folder / "pictures.csv", ROWS)
    before = TableSource(folder).fingerprint()
    assert TableSource(folder).fingerprint() == before
    assert TableSource(folder, mapping=TableMapping(default_language="ja")).fingerprint() != before
    info = (folder / "b.jpg").stat()
    (folder / "b.jpg").write_bytes(picture_bytes(9))
    os.utime(folder / "b.jpg", ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    assert TableSource(folder).fingerprint() != before


# ---------------------------------------------------------------- tables that are refused
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the table is empty"),
        (b"photo,entity\na.jpg,A\n", "no column 'file'; it has: photo, entity"),
        (b"file,kind\na.jpg,A\n", "no column 'entity'; it has: file, kind"),
        (b"file,entity,entity\na.jpg,A,B\n", "names entity more than once"),
        (b"\n\n", "the first line names no column"),
        ("file,entity\na.jpg,ポンプ\n".encode("euc-jp"), r"byte 18 is not utf-8; .*encoding: cp932"),
        ("file,entity\na.jpg,été ‚oui‘\n".encode("cp1252"), r"byte 18 is not utf-8; .*encoding: cp1252"),
        (b"\xff\xfef\0i\0l\0e\0", "byte 0 is not utf-8"),
        (b'file,entity\na.jpg,"A\nb.jpg,B\n', "line 3: unexpected end of data"),
        (b'file,entity\na.jpg,"A"B\nb.jpg,B\n', "line 2: .*quote"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_and_what_to_do(content, message, folder):
    (folder / "pictures.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(TableSource(folder).pictures())


@pytest.mark.parametrize("name", ["pictures.parquet", "pictures.jsonl"])
def test_rubbish_named_like_a_table_is_refused(name, folder):
    (folder / name).write_bytes(b"PAR1 rubbish\n" * 9)
    with pytest.raises(SourceError):
        list(TableSource(folder).pictures())


def test_a_table_that_is_missing_or_ambiguous_is_refused(folder):
    with pytest.raises(SourceError, match=r"expected a table pictures\.\* or metadata\.\*"):
        TableSource(folder)
    write_csv(folder / "写真.csv", ROWS)
    with pytest.raises(SourceError, match=r"if one of 写真\.csv names the pictures, give its own path"):
        TableSource(folder)
    with pytest.raises(SourceError, match="no such table"):
        TableSource(folder / "pictures.csv")
    with pytest.raises(SourceError, match=r"ends in \.csv"):
        TableSource(folder / "a.jpg")
    write_csv(folder / "pictures.csv", ROWS)
    write_csv(folder / "metadata.csv", ROWS)
    with pytest.raises(SourceError, match=r"which table is meant\? pictures.csv, metadata.csv"):
        TableSource(folder)


def test_an_unknown_column_without_a_mapping_names_the_remedy(folder):
    write_csv(folder / "pictures.csv", [{"写真": "a.jpg", "品名": "遮断器"}])
    with pytest.raises(SourceError, match=r"no column 'file'; it has: 写真, 品名; .*docs/custom-data.md"):
        TableSource(folder)


def test_a_mapping_that_does_not_fit_says_what_there_is(folder):
    write_csv(folder / "pictures.csv", ROWS)
    with pytest.raises(SourceError, match="no column 'titel'; it has: file, caption, entity, split"):
        TableSource(folder, mapping=TableMapping(caption="titel"))
    write_csv(folder / "entities.csv", [{"entity": "A"}])
    with pytest.raises(SourceError, match=r"entities.csv: no column 'name_en'; it has: entity"):
        TableSource(folder, mapping=TableMapping(entities=EntityMapping(aliases=("name_en",))))
    with pytest.raises(SourceError, match="the image folder is not there"):
        TableSource(folder, mapping=TableMapping(images=Path("photos")))
    for encoding in ("shift-jisx", "hex", "zlib", "undefined", "a\0b"):
        with pytest.raises(ConfigError, match="knows no text encoding"):
            TableSource(folder, mapping=TableMapping(encoding=encoding))


@pytest.mark.parametrize("text", ["files: photo\n", "- a\n", "file: [a, b]\n", "a: b: c"])
def test_a_mapping_file_that_is_no_mapping_is_refused(text, tmp_path):
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"mapping.yaml: not a usable table mapping"):
        TableMapping.read(tmp_path / "mapping.yaml")


def test_an_unknown_source_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="source 'flickr' is unknown; known are catalog, grocery, table"):
        open_source(SourceOptions(source="flickr"), layout=Layout(tmp_path))
    with pytest.raises(ConfigError, match="a mapping belongs to the source 'table' only"):
        open_source(SourceOptions(source="grocery", mapping=tmp_path / "m.yaml"), layout=Layout(tmp_path))
    with pytest.raises(ConfigError, match="name the picture table"):
        open_source(SourceOptions(source="table"), layout=Layout(tmp_path))


# ---------------------------------------------------------------- filters
def test_tags_and_dates_of_the_mapping_reach_the_filters(folder, tmp_path):
    master = [
        {"entity": "00123", "札": "新製品、屋外", "発売日": "2026年11月3日"},
        {"entity": "1E5", "札": "屋外; 特価", "発売日": "2026/10/1"},
        {"entity": "NA", "札": "", "発売日": ""},
    ]
    write_csv(folder / "pictures.csv", ROWS)
    write_csv(folder / "products.csv", master)
    source = TableSource(folder, mapping=TableMapping(entities=EntityMapping(tags=("札",), date="発売日")))
    staging = DataLayout(tmp_path / "staging")
    ingest(source, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    facets = Facets(pairs.read_frame(staging.entities))
    assert facets.mask(Filter(tags=("屋外",))).tolist() == [True, True, False]
    assert facets.mask(Filter(tags=("屋外", "特価"))).tolist() == [False, True, False]
    assert facets.mask(Filter(since=datetime.date(2026, 11, 1))).tolist() == [True, False, False]
    assert facets.mask(Filter(until=datetime.date(2026, 11, 1))).tolist() == [False, True, False]


def test_tags_and_dates_may_stand_in_the_table_of_pictures(folder, tmp_path):
    tagged = [row | {"tags": "a,b" if i else "c", "day": "2026-01-02"} for i, row in enumerate([ROWS[0], *ROWS])]
    tagged[0]["file"] = "c.jpg"
    write_csv(folder / "pictures.csv", tagged)
    staging = DataLayout(tmp_path / "staging")
    source = TableSource(folder, mapping=TableMapping(date="day"))
    ingest(source, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    rows = pairs.read_frame(staging.entities).set_index("entity")
    assert list(rows.loc["00123", "tags"]) == ["c", "a", "b"]
    assert set(rows["date"]) == {"2026-01-02"}


def test_an_unreadable_date_rejects_its_row_with_what_is_expected(folder):
    write_csv(folder / "pictures.csv", [ROWS[0] | {"day": "3/11/26"}, ROWS[1] | {"day": ""}])
    reason, stray = reasons(TableSource(folder, mapping=TableMapping(date="day")))
    assert reason.startswith("date '3/11/26'; expected 2026-11-23")
    assert stray == "no row of the table names this file"


def test_a_column_called_date_is_not_read_unless_the_mapping_names_it(folder):
    write_csv(folder / "pictures.csv", [ROWS[0] | {"date": "last week"}])
    assert [row.date for row in usable(TableSource(folder))] == [""]
