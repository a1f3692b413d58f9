"""Pictures that belong together share a split, and no others move."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from scenes import scene

from entityclip.data import pairs
from entityclip.data.erasure import ErasureRequest, Subject, without
from entityclip.data.images import strip_metadata
from entityclip.data.ingest import ingest
from entityclip.data.sources import SourceOptions, open_source
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.split_groups import ALIKE, GROUPED, copy_near_duplicates, read_near_duplicates, seen_in_training
from entityclip.data.split_shares import SplitShares
from entityclip.errors import SourceError
from entityclip.paths import DataLayout, Layout
from entityclip.schemas import IngestReport, Rejection


class Rows:
    """A source of rows that are already there."""

    name, language = "rows", "en"

    def __init__(self, *rows: PictureRow) -> None:
        self._rows = rows

    def fingerprint(self) -> str:
        return pairs.digest(repr(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def entities(self) -> Iterator[EntityRow | Rejection]:
        return iter(())

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        return iter(self._rows)


@pytest.fixture
def staging(tmp_path: Path) -> DataLayout:
    return DataLayout(tmp_path / "staging")


def run(staging: DataLayout, *rows: PictureRow, **shares: float) -> IngestReport:
    rejected = staging.root.parent / "rejected.csv"
    checked = SplitShares.checked(**shares)
    return ingest(Rows(*rows), staging=staging, rejected=rejected, shares=checked, progress=False)


def row(number: int, image: Image.Image, entity: str, *, split: str = "", split_group: str = "") -> PictureRow:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=90)
    return PictureRow(
        file=f"{number}.jpg",
        row=number,
        data=file.getvalue(),
        caption=entity,
        entity=entity,
        split=split,
        split_group=split_group,
    )


def copies(image: Image.Image) -> list[Image.Image]:
    """The picture, then resized, cropped, and one darker as the next picture of a burst."""
    darker = ImageEnhance.Brightness(image).enhance(0.8)
    return [image, image.resize((60, 45)), image.crop((4, 3, 114, 84)), darker]


def splits(staging: DataLayout) -> dict[int, str]:
    return pairs.read_frame(staging.pairs).set_index("row")["split"].to_dict()


def drawn(staging: DataLayout, **shares: float) -> dict[int, str]:
    """What the hash of each picture alone says."""
    frame = pairs.read_frame(staging.pairs).set_index("row")["image_sha256"]
    return {number: pairs.split_of(sha, **shares) for number, sha in frame.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- splits
def test_near_duplicates_of_an_entity_share_the_split_of_the_first(staging):
    rows = [row(4 * n + i, image, f"Thing {n}") for n in range(60) for i, image in enumerate(copies(scene(n)))]
    report = run(staging, *rows, test=0.3).near_duplicates
    found, alone = splits(staging), drawn(staging, val=0.1, test=0.3)
    together = [{found[4 * n + i] for i in range(4)} == {alone[4 * n]} for n in range(60)]
    assert sum(together) >= 0.95 * 60
    assert report.moved == sum(found[number] != alone[number] for number in found) > 60
    assert (report.apart, report.look_like_others, report.largest) == (0, 0, 4)
    counts = pairs.require_complete(staging)
    assert pd.Series(found).value_counts().to_dict() == {name: counts[name] for name in ("train", "val", "test")}
    again = DataLayout(staging.root.parent / "again")
    run(again, *rows, test=0.3)
    assert contents(again.root) == contents(staging.root)


def test_without_near_duplicates_the_hash_of_a_picture_decides_as_before(staging):
    report = run(staging, *(row(n, scene(n), f"Thing {n % 20}") for n in range(100)))
    assert splits(staging) == drawn(staging, val=0.1, test=0.1)
    assert report.near_duplicates.sentence() == ""
    assert len(read_near_duplicates(staging)) == 0


def bottle(number: int) -> Image.Image:
    """A plain drawing on white that differs from its siblings by a small text."""
    image = Image.new("RGB", (120, 120), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 30, 80, 110), fill="#3c783c")
    draw.text((46, 66), f"No {number}", fill="white")
    return image


def test_products_that_look_alike_are_listed_but_never_chained_into_one_split(staging):
    report = run(staging, *(row(n, bottle(n), f"Bottle {n}") for n in range(60)), test=0.3)
    assert splits(staging) == drawn(staging, val=0.1, test=0.3)
    assert (report.near_duplicates.look_like_others, report.near_duplicates.moved) == (60, 0)
    assert "60 pictures look like one of another entity" in report.near_duplicates.sentence()


def test_a_split_that_the_source_names_stays_and_the_others_follow_it(staging):
    one, smaller, cropped, _ = copies(scene(1))
    report = run(
        staging,
        row(1, one, "A", split="train"),
        row(2, smaller, "A", split="test"),
        row(3, cropped, "A"),
        row(4, scene(2), "A", split="train"),
    ).near_duplicates
    assert splits(staging) == {1: "train", 2: "test", 3: "test", 4: "train"}
    assert (report.pictures, report.apart) == (3, 1)
    assert "1 stay in another split" in report.sentence()


def test_a_picture_of_a_held_out_entity_stays_in_its_split(staging):
    rows = [row(10 * n + i, image, f"Thing {n}") for n in range(20) for i, image in enumerate(copies(scene(n)))]
    run(staging, *rows, entity_holdout=0.5)
    whole = {n: pairs.split_of(pairs.entity_id(f"Thing {n}"), val=0.25, test=0.25) for n in range(20)}
    assert set(whole.values()) == {"train", "val", "test"}
    for held_out in ("val", "test"):
        theirs = {split for number, split in splits(staging).items() if whole[number // 10] == held_out}
        assert theirs == {held_out}


def test_rows_of_one_picture_never_part_because_one_of_them_names_its_split(staging):
    one, smaller, *_ = copies(scene(1))
    run(staging, row(1, one, "A"), row(2, smaller, "A", split="val"), row(3, one, "A", split="train"))
    assert splits(staging)[2] == "val"
    assert splits(staging)[3] == "train"
    assert splits(staging)[1] == drawn(staging, val=0.1, test=0.1)[1]


# ---------------------------------------------------------------- split groups
def test_pictures_of_one_split_group_share_a_split_whatever_they_show(tmp_path, staging):
    for n in range(60):
        scene(n).save(tmp_path / f"{n}.png")
    lines = [f"{n}.png,Thing {n % 7},session {n // 5}" for n in range(60)]
    (tmp_path / "pictures.csv").write_text("\n".join(["file,entity,撮影", *lines]), encoding="utf-8")
    (tmp_path / "mapping.yaml").write_text("split_group: 撮影\n", encoding="utf-8")
    options = SourceOptions(source="table", path=tmp_path, mapping=tmp_path / "mapping.yaml")
    source = open_source(options, layout=Layout(tmp_path))
    shares = SplitShares.checked(test=0.4)
    report = ingest(source, staging=staging, rejected=tmp_path / "rejected.csv", shares=shares, progress=False)
    frame = pairs.read_frame(staging.pairs)
    assert (frame.groupby((frame["row"] - 1) // 5)["split"].nunique() == 1).all()
    assert frame["split"].nunique() > 1
    assert (report.near_duplicates.pictures, report.near_duplicates.groups) == (60, 12)
    assert set(read_near_duplicates(staging)["kind"]) == {GROUPED}


def test_one_split_group_for_everything_is_an_error_that_says_what_is_expected(staging):
    rows = [row(n, scene(n), f"Thing {n}", split_group="all") for n in range(12)]
    first = next(n for n in range(12) if pairs.split_of(_sha(rows[n]), val=0.1, test=0.6) == "test")
    with pytest.raises(SourceError, match="rows: no picture is left to train on: 12 belong together"):
        run(staging, rows[first], *rows[:first], *rows[first + 1 :], test=0.6)
    assert not staging.marker.exists()


def _sha(one: PictureRow) -> str:
    return hashlib.sha256(strip_metadata(one.data)).hexdigest()


# ---------------------------------------------------------------- the table
ROWS = pd.DataFrame(
    [
        ("p1", "a", "X", "train"),
        ("p2", "b", "X", "test"),
        ("p3", "c", "X", "test"),
        ("p4", "d", "Y", "test"),
        ("p5", "e", "Y", "test"),
        ("p6", "f", "Y", "val"),
        ("p7", "a", "Y", "test"),
    ],
    columns=["pair_id", "image_sha256", "entity_id", "split"],
)
NEAR = pd.DataFrame(
    [("a", "b", ALIKE), ("b", "c", ALIKE), ("a", "d", ALIKE), ("e", "a", GROUPED), ("a", "gone", ALIKE)],
    columns=["image_sha256", "near_sha256", "kind"],
)


def test_seen_in_training_is_what_belongs_together_with_a_training_picture():
    seen = seen_in_training(ROWS, NEAR)
    assert dict(zip(ROWS["pair_id"], seen.fillna("-"), strict=True)) == {
        "p1": "-",  # trained on
        "p2": "p1",  # a near duplicate
        "p3": "p1",  # through another
        "p4": "-",  # looks like it, but shows another entity
        "p5": "p1",  # of the same split_group
        "p6": "-",
        "p7": "p1",  # the very picture, under another entity
    }


def test_nothing_is_seen_without_near_duplicates():
    assert seen_in_training(ROWS[:6], NEAR[:0]).isna().all()


def test_the_table_follows_the_pictures_that_are_kept(staging, tmp_path):
    run(staging, *(row(i, image, "A") for i, image in enumerate(copies(scene(1)))))
    kept = DataLayout(tmp_path / "kept")
    pairs.start(kept)
    some = [r for r in pairs.iter_rows(staging.pairs) if r["row"] != 0]
    pairs.write_rows(kept.pairs, pairs.PAIRS, some, name=some[0]["split"])
    assert read_near_duplicates(kept) is None
    copy_near_duplicates(staging, into=kept)
    table = read_near_duplicates(kept)
    assert set(table["image_sha256"]) | set(table["near_sha256"]) == {r["image_sha256"] for r in some}


def test_an_erased_picture_leaves_the_table_too(staging, tmp_path):
    run(staging, *(row(i, image, "A") for i, image in enumerate(copies(scene(1)))), row(9, scene(2), "B"))
    pairs.write_rows(staging.explanations, pairs.EXPLANATIONS, [], name="explanations")
    erased = pairs.read_frame(staging.pairs).set_index("row")["image_sha256"][0]
    left = DataLayout(tmp_path / "left")
    without(staging, Subject(ErasureRequest(kind="picture", value=erased)), into=left)
    table = read_near_duplicates(left)
    assert len(table) > 0
    assert erased not in {*table["image_sha256"], *table["near_sha256"]}
    assert erased in {*read_near_duplicates(staging)["image_sha256"]}
