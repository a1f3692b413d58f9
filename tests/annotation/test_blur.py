"""Blurred copies: a drawn face that OpenCV's cascades see, regions of a person, and files that are no pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from typer.testing import CliRunner, Result

from entityclip.annotation.blur import MARGIN, blurred
from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.regions import Box
from entityclip.cli import app

pytest.importorskip("cv2", reason="OpenCV is not installed: the extra labels")
FACE = Box(120, 50, 220, 150)


def faces() -> Image.Image:
    """A grey picture with a face in ``FACE``."""
    face = Image.new("RGB", (200, 200), (150, 150, 150))
    draw = ImageDraw.Draw(face)
    draw.ellipse((40, 15, 160, 190), fill=(225, 190, 165))
    draw.pieslice((36, 5, 164, 120), 180, 360, fill=(60, 40, 30))
    draw.ellipse((52, 55, 148, 180), fill=(228, 195, 170))
    for x in (78, 122):
        draw.rectangle((x - 17, 72, x + 17, 78), fill=(70, 45, 35))
        draw.ellipse((x - 15, 82, x + 15, 100), fill=(90, 65, 55))
        draw.ellipse((x - 6, 84, x + 6, 98), fill=(30, 20, 20))
    draw.polygon(((100, 95), (90, 128), (110, 128)), fill=(205, 165, 140))
    draw.ellipse((76, 142, 124, 158), fill=(150, 70, 70))
    draw.rectangle((78, 149, 122, 151), fill=(90, 40, 40))
    picture = Image.new("RGB", (400, 300), (150, 150, 150))
    picture.paste(face.filter(ImageFilter.GaussianBlur(2)).resize((100, 100)), FACE[:2])
    return picture


def entityclip(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="entityclip")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "棚").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E] = "Ana at the shelf"
    faces().save(folder / "棚" / "person.jpg", quality=95, exif=exif)
    Image.new("RGB", (60, 40), "orange").save(folder / "box.bmp")
    (folder / "notes.jpg").write_text("no picture")
    return folder


def details(picture: Image.Image, box: Box) -> float:
    """Mean difference of neighbouring pixels inside."""
    return float(np.abs(np.diff(np.asarray(picture.convert("L").crop(box), dtype=float), axis=1)).mean())


def test_a_face_is_blurred_and_everything_else_stays(photos: Path, tmp_path: Path) -> None:
    done = entityclip("blur", photos, "--to", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    (region,) = answer["regions"]
    assert (region["file"], region["kind"]) == ("棚/person.jpg", "face")
    assert region["left"] <= FACE.left + 25
    assert region["right"] >= FACE.right - 25
    assert list(answer["no_copy"]) == ["notes.jpg"]
    assert "notes.jpg: no copy: not a JPEG" in done.stderr
    with Image.open(tmp_path / "out" / "棚" / "person.jpg") as copy:
        assert not copy.getexif()
        assert details(copy, FACE) < 0.4 * details(faces(), FACE)
        outside = np.asarray(copy.convert("RGB"), dtype=float)[200:, 250:]
        assert np.abs(outside - 150).max() <= 3
    with Image.open(tmp_path / "out" / "box.bmp") as copy:
        assert copy.format == "BMP"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["box.bmp", "regions.csv", "棚"]


def test_regions_of_a_person_count_and_nothing_is_looked_for(photos: Path, tmp_path: Path) -> None:
    (table := tmp_path / "mine.csv").write_text("file,kind,left,top,right,bottom\nbox.bmp,badge,10,10,30,20\n")
    done = entityclip("blur", photos, "--to", tmp_path / "out", "--regions", table, "--json")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [(r["file"], r["kind"]) for r in answer["regions"]] == [("box.bmp", "badge")]
    with Image.open(tmp_path / "out" / "棚" / "person.jpg") as copy:
        assert details(copy, FACE) == pytest.approx(details(faces(), FACE), rel=0.1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("gone.jpg,face,1,1,9,9", "there is no picture gone.jpg"),
        ("box.bmp,face,9,1,9,9", "expected left < right"),
        ("box.bmp,face,x,1,9,9", "row 1: left"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_written(photos: Path, tmp_path: Path, row: str, reason: str) -> None:
    (table := tmp_path / "mine.csv").write_text(f"file,kind,left,top,right,bottom\n{row}\n")
    done = entityclip("blur", photos, "--to", tmp_path / "out", "--regions", table)
    assert done.exit_code == 1
    assert reason in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_region_beyond_the_picture_leaves_it_out(photos: Path, tmp_path: Path) -> None:
    (table := tmp_path / "mine.csv").write_text("file,kind,left,top,right,bottom\nbox.bmp,face,1,1,99,9\n")
    done = entityclip("blur", photos, "--to", tmp_path / "out", "--regions", table)
    assert "box.bmp: no copy: " in done.stderr
    assert "60 x 40 pixels" in done.stderr
    assert not (tmp_path / "out" / "box.bmp").exists()


def test_a_dry_run_writes_nothing_and_a_folder_that_is_there_is_kept(photos: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert "person.jpg" in entityclip("blur", photos, "--dry-run").stdout
    assert sorted(tmp_path.rglob("*")) == before
    for place in (photos / "out", tmp_path):
        refused = entityclip("blur", photos, "--to", place)
        assert "expected a new folder" in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_call_that_was_stopped_is_continued_with_the_same_result(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = entityclip("blur", photos, "--to", tmp_path / "whole")
    read = PictureFile.read

    def stop(file: PictureFile) -> bytes:
        if file.name == "棚/person.jpg":
            raise KeyboardInterrupt
        return read(file)

    to = tmp_path / "out"
    monkeypatch.setattr(PictureFile, "read", stop)
    assert entityclip("blur", photos, "--to", to).exit_code != 0
    assert not (to / "regions.csv").exists()
    with (to / ".blur.jsonl").open("a", encoding="utf-8") as journal:
        journal.write('{"file": "棚/per')  # a kill in the middle of a line
    other = entityclip("blur", photos, "--to", to, "--only", "plates")
    assert "was begun with other pictures or options" in other.stderr

    times: list[str] = []
    monkeypatch.setattr(PictureFile, "read", lambda file: times.append(file.name) or read(file))
    done = entityclip("blur", photos, "--to", to)
    assert (done.exit_code, done.stdout) == (0, whole.stdout)
    assert times == ["棚/person.jpg"]
    assert {p.relative_to(to): p.read_bytes() for p in to.rglob("*") if p.is_file()} == {
        p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").rglob("*") if p.is_file()
    }
    assert "exists; expected a new folder" in entityclip("blur", photos, "--to", to).stderr


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_copy_is_of_the_same_kind_and_its_region_has_few_colours(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    stream = io.BytesIO()
    noise.save(stream, kind)
    with Image.open(io.BytesIO(blurred(stream.getvalue(), noise, [Box(16, 16, 64, 64)]))) as copy:
        assert copy.format == kind
        assert details(copy.convert("RGB"), Box(20, 20, 60, 60)) < 10
        assert details(copy.convert("RGB"), Box(0, 66, 80, 80)) > 30
    assert 0 < MARGIN < 1
