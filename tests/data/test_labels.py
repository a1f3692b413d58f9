"""What is printed on a picture is read once, with its place, within the time that there is."""

from __future__ import annotations

import hashlib
import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from printed import card, card_of, needs_reader, png, texts

from entityclip.data import labels as labels_module
from entityclip.data.label_cache import LabelCache, read_once
from entityclip.data.labels import OVERLAP, TILE, WHOLE, LabelReader, _merged, reader_version, tiles
from entityclip.errors import ConfigError, DataError, ImageError
from entityclip.schemas import Label


@pytest.fixture(scope="module")
def reader() -> LabelReader:
    return LabelReader(threads=1)


def label(text: str, left: float, top: float, *, confidence: float = 0.9, width: float = 0.2) -> Label:
    return Label(text=text, confidence=confidence, box=(left, top, left + width, top + 0.05))


# ---------------------------------------------------------------- tiles
@given(st.integers(8, 9000), st.integers(8, 9000))
def test_tiles_cover_a_large_picture_and_overlap(width: int, height: int) -> None:
    whole, *parts = tiles(width, height)
    assert whole == (0, 0, width, height)
    assert bool(parts) == (max(width, height) > WHOLE)
    for side, low, high in ((width, 0, 2), (height, 1, 3)) if parts else ():
        spans = sorted({(part[low], part[high]) for part in parts})
        assert spans[0][0] == 0
        assert spans[-1][1] == side
        assert all(end - begin <= TILE for begin, end in spans)
        assert all(end - begin >= OVERLAP - 1 for (_, end), (begin, _) in pairwise(spans))


def test_a_line_that_was_read_twice_is_kept_once_with_the_most_certain_characters() -> None:
    twice = [label("KX-20", 0.1, 0.5, confidence=0.99, width=0.15), label("KX-204B", 0.1, 0.5, confidence=0.95)]
    assert texts(_merged([*twice, label("made in", 0.1, 0.1), label("Japan", 0.5, 0.1)])) == [
        "made in",
        "Japan",
        "KX-204B",
    ]


# ---------------------------------------------------------------- without the extra
def test_without_the_extra_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ConfigError, match=r"pip install 'entityclip\[labels\]'"):
        LabelReader()


# ---------------------------------------------------------------- read
@needs_reader
@pytest.mark.slow
def test_a_line_is_read_with_its_place_and_without_a_network(
    reader: LabelReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the reader connects to a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    reading = reader.read(card_of("KX-204B"))
    assert reading.outcome == "read"
    (line,) = reading.labels
    assert line.text == "KX-204B"
    assert line.confidence > 0.99
    left, top, right, bottom = line.box
    assert 0.05 < left < 0.15
    assert 0.3 < top < 0.45
    assert 0.6 < right < 0.95
    assert 0.5 < bottom < 0.75


@needs_reader
@pytest.mark.slow
def test_a_large_picture_is_read_in_tiles_each_line_once_at_its_place(reader: LabelReader) -> None:
    places = {"QA-101C": (30, 60), "QB-202D": (800, 150), "QC-303E": (1500, 250)}
    picture = card(*places.items(), size=(1750, 400), pixels=22)
    reading = reader.read_file(png(picture))
    assert reading.outcome == "read"
    assert sorted(texts(reading.labels)) == sorted(places)
    for line in reading.labels:
        x, y = places[line.text]
        assert line.box[0] == pytest.approx(x / 1750, abs=0.01)
        assert line.box[1] == pytest.approx(y / 400, abs=0.03)


@needs_reader
@pytest.mark.slow
def test_when_the_time_is_up_the_rest_of_a_large_picture_is_left(reader: LabelReader) -> None:
    reading = reader.read(card(("KX-204B", (30, 60)), size=(1750, 300), pixels=90), seconds=0.01)
    assert (reading.outcome, texts(reading.labels)) == ("partly", ["KX-204B"])


@needs_reader
@pytest.mark.slow
@pytest.mark.parametrize("size", [(3000, 9), (9, 3000), (8, 8)])
def test_a_strip_is_read_in_little_memory(reader: LabelReader, size: tuple[int, int]) -> None:
    assert reader.read(Image.new("L", size, 200), seconds=0.01).labels == ()


# ---------------------------------------------------------------- kept
@needs_reader
@pytest.mark.slow
def test_a_picture_is_read_once_by_each_version_of_the_reader(
    reader: LabelReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, screened = png(card_of("KX-204B")), []

    def screen(lines: tuple[Label, ...]) -> tuple[Label, ...]:
        screened.append(lines)
        return lines

    with LabelCache(tmp_path / "work" / "labels.sqlite", screen=screen) as cache:
        first = read_once(data, reader, cache)
        assert screened == [first.labels]
        monkeypatch.setattr(reader, "_ocr", None)  # the second time nothing is read
        assert read_once(data, reader, cache).labels == first.labels
    with LabelCache(tmp_path / "work" / "labels.sqlite", screen=tuple) as other:
        assert other.get(hashlib.sha256(data).hexdigest()) == first.labels
    monkeypatch.setattr(labels_module, "_METHOD", 2)
    with LabelCache(tmp_path / "work" / "labels.sqlite", screen=tuple) as later:
        assert later.get(hashlib.sha256(data).hexdigest()) is None


@needs_reader
def test_neither_a_broken_picture_nor_one_that_was_read_in_part_is_kept(tmp_path: Path) -> None:
    with LabelCache(tmp_path / "labels.sqlite", screen=tuple) as cache, pytest.raises(ImageError):
        read_once(b"no picture", LabelReader(threads=1), cache)
    (tmp_path / "other").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="delete it"):
        LabelCache(tmp_path / "other", screen=tuple)
    assert "rapidocr 3.10.0" in reader_version()
