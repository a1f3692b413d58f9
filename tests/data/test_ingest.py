"""Ingest: every row ends as a pair or as a reason, and the same rows give the same files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.table import TableSource
from entityclip.data.split_shares import SplitShares, draw_split
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import DataLayout
from entityclip.schemas import IngestReport, Rejection


@pytest.fixture
def staging(tmp_path) -> DataLayout:
    return DataLayout(tmp_path / "staging")


class RowSource:
    """A source of rows that are already there."""

    name, language = "rows", "en"

    def __init__(self, *pictures: PictureRow, entities: tuple[EntityRow, ...] = ()) -> None:
        self._pictures, self._entities = pictures, entities

    def fingerprint(self) -> str:
        return pairs.digest(repr(self._pictures), repr(self._entities))

    def __len__(self) -> int:
        return len(self._pictures)

    def entities(self) -> Iterator[EntityRow | Rejection]:
        yield from self._entities

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        yield from self._pictures


def run(source, staging: DataLayout, **shares: float) -> IngestReport:
    rejected = staging.root.parent / "rejected.csv"
    return ingest(source, staging=staging, rejected=rejected, shares=SplitShares.checked(**shares), progress=False)


def rejected_rows(staging: DataLayout) -> list[dict[str, str]]:
    with (staging.root.parent / "rejected.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- rubbish
def plant_rubbish(folder: Path, *, sound: bytes, png: bytes, bombs: tuple[bytes, bytes, bytes]) -> dict[str, str]:
    """Twenty kinds of rubbish below ``folder`` -> a part of the reason that each must get."""
    outside = folder.parent / "outside.jpg"
    outside.write_bytes(sound)
    files = {
        "truncated.jpg": (sound[: len(sound) // 2], "broken or truncated JPEG"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"not a picture at all", "not a JPEG"),
        "png-inside.jpg": (png, "the content is PNG, but the name ends in .jpg"),
        "jpeg-inside.txt": (sound, "the content is JPEG, but the name ends in .txt"),
        "bomb.png": (bombs[0], "pixels"),
        "large.png": (bombs[1], "9000 x 9000 pixels"),
        "hollow.png": (bombs[2], "broken or truncated PNG"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "but SVG"),
        "page.jpg": (b"<!DOCTYPE html><html></html>", "but HTML"),
        "paper.jpg": (b"%PDF-1.7\n1 0 obj", "but PDF"),
        "nothing.gif": (b"GIF89a\0\0\0\0\0\0\0;", "not a JPEG"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    (folder / "leads-out.jpg").symlink_to(outside)
    (folder / "leads-nowhere.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    odd = {
        "leads-out.jpg": "symbolic link that leads out",
        "leads-nowhere.jpg": "symbolic link that leads nowhere",
        "circle.jpg": "cannot be read",
        "folder.jpg": "a folder",
        "fifo.jpg": "not a regular file",
        "../outside.jpg": "by '..'",
        str(outside): "absolute path",
        "C:\\photos\\a.jpg": "absolute path",
        "missing.jpg": "no such file",
        "nul\0.jpg": "NUL",
        "": "names no file",
        "x" * 5000 + ".jpg": "cannot be read",
    }
    return {name: reason for name, (_, reason) in files.items()} | odd


def test_a_folder_of_rubbish_gives_a_reason_for_each_and_a_normal_return(tmp_path, staging, picture_bytes, png_header):
    folder = tmp_path / "pictures"
    folder.mkdir()
    expected = plant_rubbish(
        folder,
        sound=picture_bytes(size=(64, 64)),
        png=picture_bytes(kind="PNG"),
        bombs=(png_header(60_000, 60_000), png_header(9_000, 9_000), png_header(100, 100)),
    )
    (folder / "sound.jpg").write_bytes(picture_bytes(1))
    with (folder / "pictures.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("file", "entity"), *((name, "KX-1") for name in expected), ("sound.jpg", "KX-1")]
        )

    report = run(TableSource(folder), staging)

    found = rejected_rows(staging)
    assert len(expected) >= 20
    assert report.pairs == 1
    assert report.rejected == len(found) == len(expected)
    for (name, reason), row in zip(expected.items(), found, strict=True):
        assert row["file"] == name
        assert reason in row["reason"]


def test_a_link_that_stays_inside_the_folder_is_followed(tmp_path, staging, picture_bytes):
    (tmp_path / "a.jpg").write_bytes(picture_bytes())
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "pictures.csv").write_text("file,entity\na.jpg,A\nb.jpg,B\n")
    assert run(TableSource(tmp_path), staging).pairs == 2


def test_not_one_usable_picture_is_an_error_that_names_the_file_of_reasons(tmp_path, staging, picture_bytes):
    with pytest.raises(SourceError, match=r"no usable picture; 1 reasons are in .*rejected.csv, the first: a.jpg"):
        run(RowSource(PictureRow(file="a.jpg", row=1, data=b"", caption="A", entity="A")), staging)
    assert rejected_rows(staging)[0]["reason"] == "empty file"
    assert not staging.marker.exists()


def test_name_of_a_rejected_file_runs_in_no_spreadsheet(staging, picture_bytes):
    good = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A")
    bad = PictureRow(file="=HYPERLINK(1).jpg", row=2, data=b"", caption="A", entity="A")
    run(RowSource(good, bad), staging)
    assert [row["file"] for row in rejected_rows(staging)] == ["'=HYPERLINK(1).jpg"]


def test_reasons_of_an_earlier_run_do_not_stay(staging, picture_bytes):
    good = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A")
    bad = PictureRow(file="b.jpg", row=2, data=b"", caption="A", entity="A")
    assert run(RowSource(good, bad), staging).rejected_file is not None
    assert run(RowSource(good), staging).rejected_file is None
    assert not (staging.root.parent / "rejected.csv").exists()


# ---------------------------------------------------------------- pairs
def test_a_pair_keeps_the_bytes_and_everything_the_row_says(staging, picture_bytes):
    row = PictureRow(
        file="x/a.jpg", row=7, data=picture_bytes(), caption="ポンプ", entity="KX-1", category="pump",
        language="ja", licence="MIT", consent="yes", split="Validation",
    )  # fmt: skip
    run(RowSource(row), staging)
    (pair,) = pairs.iter_rows(staging.pairs)
    assert pair["image"] == {"bytes": row.data, "path": "x/a.jpg"}
    assert (pair["width"], pair["height"], pair["row"]) == (24, 16, 7)
    assert (pair["caption"], pair["entity"], pair["split"], pair["explanation"]) == ("ポンプ", "KX-1", "val", None)
    assert (pair["category"], pair["language"], pair["licence"], pair["source"]) == ("pump", "ja", "MIT", "rows")
    assert pair["consent"] == "yes"


def test_the_same_rows_give_the_same_bytes(tmp_path, picture_bytes):
    rows = [PictureRow(file=f"{i}.jpg", row=i, data=picture_bytes(i), caption="A", entity=f"E{i}") for i in range(30)]
    first, second = DataLayout(tmp_path / "1" / "staging"), DataLayout(tmp_path / "2" / "staging")
    run(RowSource(*rows, rows[0]), first)
    run(RowSource(*rows, rows[0]), second)
    assert contents(first.root) == contents(second.root)
    assert pairs.require_complete(first)["pairs"] == 31


def test_an_unknown_split_is_refused_and_named(staging, picture_bytes):
    good = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A", split="test")
    odd = PictureRow(file="b.jpg", row=2, data=picture_bytes(), caption="A", entity="A", split="holdout")
    assert run(RowSource(good, odd), staging).rejected == 1
    assert rejected_rows(staging)[0]["reason"] == "split 'holdout'; expected train, val, test or sealed"


def test_one_picture_under_two_captions_never_stands_in_two_splits(staging, picture_bytes):
    rows = [
        PictureRow(file=f"{i}.jpg", row=i, data=picture_bytes(i % 20), caption=f"C{i}", entity=f"E{i}")
        for i in range(40)
    ]
    run(RowSource(*rows), staging, val=0.3, test=0.3)
    frame = pairs.read_frame(staging.pairs)
    assert set(frame["split"]) == {"train", "val", "test"}
    assert (frame.groupby("image_sha256")["split"].nunique() == 1).all()


def splits_of(shares: SplitShares) -> dict[str, set[str]]:
    """Entity -> splits of fifty of its pictures."""
    return {
        entity: {draw_split(f"{entity}/{i}", entity_id=entity, shares=shares) for i in range(50)}
        for entity in map(str, range(400))
    }


def test_all_pictures_of_a_held_out_entity_are_in_val_or_all_in_test():
    found = list(splits_of(SplitShares.checked(entity_holdout=0.2)).values())
    val, test = found.count({"val"}), found.count({"test"})
    assert 25 <= val <= 55
    assert 25 <= test <= 55
    assert sum("train" in splits for splits in found) == 400 - val - test


def test_sealed_pictures_and_entities_are_taken_from_train_alone():
    keys = [(f"{entity}/{i}", entity) for entity in map(str, range(200)) for i in range(20)]
    without, sealed = (SplitShares.checked(entity_holdout=0.2, sealed=share) for share in (0.0, 0.1))
    before, after = (
        [draw_split(picture, entity_id=entity, shares=shares) for picture, entity in keys]
        for shares in (without, sealed)
    )
    moved = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert "sealed" not in before
    assert moved == {("train", "sealed")}
    untrained = sum("sealed" in splits and "train" not in splits for splits in splits_of(sealed).values())
    assert 25 <= untrained <= 55


@pytest.mark.parametrize(
    "settings",
    [{"val": -0.1}, {"val": 0.5, "test": 0.5}, {"entity_holdout": 1}, {"entity_holdout": 0.7, "sealed": 0.1}],
)
def test_shares_that_leave_nothing_to_train_on_are_refused(settings, staging):
    with pytest.raises(ConfigError, match="val, test and sealed together below 1"):
        run(RowSource(), staging, **settings)


def test_without_sealed_pictures_the_data_are_those_of_an_earlier_version(staging, picture_bytes):
    row = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A")
    run(RowSource(row, replace(row, data=picture_bytes(1), split="test")), staging)
    assert "sealed" not in pairs.require_complete(staging)
    run(RowSource(row, replace(row, data=picture_bytes(1), split="sealed")), staging)
    assert pairs.require_complete(staging)["sealed"] == 1
    assert pairs.read_frame(staging.pairs, name="sealed")["split"].tolist() == ["sealed"]


# ---------------------------------------------------------------- entities
def test_entities_are_those_of_the_table_and_those_of_the_pictures_first_row_wins(staging, picture_bytes):
    described = EntityRow(entity="KX-1", row=1, aliases=("Pump", "KX-1"), category="pump", licence="MIT")
    again = EntityRow(entity="ｋｘ-1", row=2, aliases=("ポンプ", "Pump"), category="tool")
    unseen = EntityRow(entity="KX-2", row=3)
    seen = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="kx-1", entity="kx-1")
    new = PictureRow(file="b.jpg", row=2, data=picture_bytes(1), caption="B", entity="B", category="lamp")
    assert run(RowSource(seen, new, entities=(described, again, unseen)), staging).entities == 3
    frame = pairs.read_frame(staging.entities)
    assert list(frame["entity"]) == ["KX-1", "KX-2", "B"]
    assert list(frame["aliases"].iloc[0]) == ["Pump", "ポンプ"]
    assert list(frame["category"]) == ["pump", "", "lamp"]
    pair = next(pairs.iter_rows(staging.pairs))
    assert (pair["entity"], pair["category"], pair["licence"]) == ("KX-1", "pump", "MIT")


def test_what_one_picture_may_be_used_for_says_nothing_about_others(staging, picture_bytes):
    texts = {"explanations": ("It is blue.",)}
    row = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A", consent="withdrawn", **texts)
    other = PictureRow(file="b.jpg", row=2, data=picture_bytes(1), caption="A", entity="A", licence="MIT")
    third = PictureRow(file="c.jpg", row=3, data=picture_bytes(2), caption="A", entity="A")
    run(RowSource(row, other, third), staging)
    frame = pairs.read_frame(staging.pairs).sort_values("row")
    assert list(zip(frame["licence"], frame["consent"], strict=True)) == [("", "withdrawn"), ("MIT", ""), ("", "")]
    (entity,) = pairs.iter_rows(staging.entities)
    assert (entity["licence"], entity["consent"]) == ("", "")
    (source_provided,) = pairs.iter_rows(staging.source_provided)
    assert (source_provided["licence"], source_provided["consent"]) == ("", "withdrawn")


def test_the_rights_of_an_entity_hold_for_its_pictures_and_their_texts(staging, picture_bytes):
    entity = EntityRow(entity="A", row=1, licence="MIT", consent="refused")
    texts = {"explanations": ("It is blue.",)}
    row = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="A", entity="A", licence="CC0", **texts)
    run(RowSource(row, entities=(entity,)), staging)
    for table in (staging.pairs, staging.source_provided):
        (stored,) = pairs.iter_rows(table)
        assert (stored["licence"], stored["consent"]) == ("CC0", "refused")


def test_source_texts_are_distinct_for_each_entity(staging, picture_bytes):
    entity = EntityRow(entity="A", row=4, explanations=("It is blue. ", "Ｉt is blue.", " ", "It has a handle."))
    row = PictureRow(file="a.jpg", row=1, data=picture_bytes(), caption="B", entity="B", explanations=("It is blue.",))
    run(RowSource(row, row, entities=(entity,)), staging)
    frame = pairs.read_frame(staging.source_provided)
    assert list(frame["text"]) == ["It is blue.", "It has a handle.", "It is blue."]
    assert list(frame["row"]) == [4, 4, 1]


def test_a_source_text_is_kept_as_it_was_written(staging, picture_bytes):
    written = "容量１.５㍑、ｽﾃﾝﾚｽ製です。"
    row = PictureRow(
        file="a.jpg", row=1, data=picture_bytes(), caption="B", entity="B", explanations=(f" {written}\n",)
    )
    run(RowSource(row), staging)
    assert list(pairs.read_frame(staging.source_provided)["text"]) == [written]
