"""Samples: figures instead of pictures, bounded in number and in cost, and never an answer's trouble."""

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny_data, tiny_model

from bentos.runtime import samples
from bentos.runtime.batching import Decoder
from bentos.runtime.samples import Samples
from entityclip.data.pairs import iter_rows
from entityclip.errors import DataError
from entityclip.monitoring.drift import STATISTICS

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@dataclass
class TinyRelease:
    """What a sample needs of a release: a version, a decoder and a tower."""

    version: str
    decode: Decoder
    predictor: SimpleNamespace


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> TinyRelease:
    model = tiny_model(tmp_path_factory.mktemp("model"))
    return TinyRelease("v1.0.0", Decoder(model, max_concurrency=1), SimpleNamespace(embed_images=model.embed_images))


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> bytes:
    return next(iter_rows(tiny_data(tmp_path_factory.mktemp("data") / "data").pairs))["image"]["bytes"]


@pytest.fixture
def kept(tmp_path) -> Samples:
    return Samples(tmp_path / "state" / "samples.sqlite", seconds=0.0)


def waited(kept: Samples, count: int, release: str = "v1.0.0"):
    for _ in range(200):
        if len(rows := kept.read(release, since=LONG_AGO)) >= count:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"{len(rows)} samples after ten seconds, {count} were offered")


def test_a_sample_holds_figures_and_neither_picture_nor_text(kept, release, picture):
    kept.offer(release, pictures=[picture], text="mail me at ana@example.com, やかん")
    rows = waited(kept, 2)
    shown = rows[rows["vector"].notna()].iloc[0]
    vector = np.frombuffer(shown["vector"], np.float16).astype(float)
    expected = release.predictor.embed_images([release.decode(picture)])[0]
    assert vector == pytest.approx(expected, abs=1e-3)
    assert all(0 <= shown[name] <= 1 for name in STATISTICS)
    assert rows["script"].dropna().tolist() == ["latin"]
    file = b"".join(path.read_bytes() for path in kept.path.parent.iterdir())
    assert b"example.com" not in file
    assert picture[:64] not in file


def test_a_flood_is_sampled_once_a_second(tmp_path, release):
    kept = Samples(tmp_path / "samples.sqlite", seconds=3600)
    for _ in range(100):
        kept.offer(release, text="kettle")
    assert len(waited(kept, 1)) == 1


def test_the_oldest_make_place(kept, monkeypatch):
    monkeypatch.setattr(samples, "MOST_ROWS", 3)
    for script in "abcde":
        kept.write({"release": "v1.0.0", "script": script})
    assert kept.read("v1.0.0", since=LONG_AGO)["script"].tolist() == ["c", "d", "e"]


def test_only_this_release_and_only_of_late(kept):
    kept.write({"release": "v1.0.0", "script": "latin"})
    kept.write({"release": "v1.1.0", "script": "greek"})
    assert kept.read("v1.1.0", since=LONG_AGO)["script"].tolist() == ["greek"]
    assert kept.read("v1.0.0", since=datetime.now(UTC) + timedelta(seconds=1)).empty


def test_what_cannot_be_written_is_logged_and_changes_no_answer(tmp_path, release, caplog):
    (tmp_path / "file").write_text("no folder")
    kept = Samples(tmp_path / "file" / "samples.sqlite", seconds=0)
    kept.offer(release, text="kettle")
    for _ in range(100):
        if "a sample was not stored" in caplog.text:
            break
        time.sleep(0.05)
    assert "a sample was not stored" in caplog.text


def test_a_service_without_state_keeps_nothing(release, picture):
    Samples(None).offer(release, pictures=[picture], text="kettle")
    with pytest.raises(DataError, match="ENTITYCLIP_STATE"):
        Samples(None).read("v1.0.0", since=LONG_AGO)


def test_a_file_that_is_no_database_is_an_error(kept):
    kept.path.parent.mkdir()
    kept.path.write_text("no database at all\n" * 100)
    with pytest.raises(DataError, match=r"samples\.sqlite: the samples file cannot be used"):
        kept.read("v1.0.0", since=LONG_AGO)
    kept.path.unlink()
    sqlite3.connect(kept.path).close()
    assert kept.read("v1.0.0", since=LONG_AGO).empty
