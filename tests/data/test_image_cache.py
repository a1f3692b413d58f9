"""Pictures for training: mapped and streamed alike, whole or not at all, the same in every process."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from shards import write_pictures
from torch.utils.data import DataLoader

from entityclip.data import image_cache, pairs
from entityclip.data.image_cache import MemoryMapped, SplitImages, open_pictures
from entityclip.data.image_stream import Streamed
from entityclip.data.images import decode
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import DataError, WorkspaceError
from entityclip.paths import DataLayout, DecodedLayout

SIDE = 24
COUNT = 40
AMPLE = 2**30


@pytest.fixture(scope="module")
def files(picture_bytes) -> list[bytes]:
    kinds = ("JPEG", "PNG")
    return [picture_bytes(i, kind=kinds[i % 2], size=(30 + i, 50)) for i in range(COUNT)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, files: list[bytes]) -> DataLayout:
    return write_pictures(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def expected(files: list[bytes]) -> torch.Tensor:
    squares = [Preprocessing(size=SIDE).square(decode(file)) for file in files]
    return torch.from_numpy(np.stack(squares))


def opened(data: DataLayout, cache: Path, *, most_bytes: int = AMPLE, **how: Any) -> SplitImages:
    preprocessing, cached = Preprocessing(**{"size": SIDE} | how), DecodedLayout(cache)
    return open_pictures(
        data, split="train", preprocessing=preprocessing, cache=cached, most_bytes=most_bytes, progress=False
    )


@pytest.mark.parametrize(("most_bytes", "kind"), [(AMPLE, MemoryMapped), (COUNT * 3 * SIDE**2 - 1, Streamed)])
def test_rows_are_what_evaluation_sees_whichever_way_they_are_read(data, expected, tmp_path, most_bytes, kind):
    pictures = opened(data, tmp_path, most_bytes=most_bytes)
    assert isinstance(pictures, kind)
    assert len(pictures) == COUNT
    rows = np.array([39, 0, 7, 7, 21])
    assert torch.equal(pictures.read(rows), expected[rows])
    assert torch.equal(pictures.read(np.arange(COUNT)), expected)
    assert pictures.read(rows[:0]).shape == (0, 3, SIDE, SIDE)


def test_without_a_cache_pictures_are_streamed_and_nothing_is_written(data, tmp_path):
    pictures = open_pictures(data, split="train", preprocessing=Preprocessing(size=SIDE), cache=None, most_bytes=AMPLE)
    assert isinstance(pictures, Streamed)
    assert sorted(path.name for path in data.root.iterdir()) == ["complete.json", "pairs"]


@pytest.mark.parametrize("most_bytes", [AMPLE, 0])
@pytest.mark.parametrize("row", [-1, COUNT])
def test_a_row_that_is_not_there_is_refused(data, tmp_path, most_bytes, row):
    with pytest.raises(IndexError, match=f"expected 0 to {COUNT - 1}"):
        opened(data, tmp_path, most_bytes=most_bytes).read(np.array([3, row]))


# ---------------------------------------------------------------- workers
@pytest.mark.parametrize("most_bytes", [AMPLE, 0])
def test_workers_give_the_same_bytes_as_the_process_itself(data, expected, tmp_path, most_bytes):
    pictures = opened(data, tmp_path, most_bytes=most_bytes)
    pictures.read(np.arange(8))  # what is held here must not disturb a forked worker
    steps = list(np.random.default_rng(0).permutation(COUNT).reshape(-1, 8))
    for workers in (0, 2):
        loader = DataLoader(steps, batch_size=None, num_workers=workers, collate_fn=pictures.read)
        for rows, squares in zip(steps, loader, strict=True):
            assert torch.equal(squares, expected[rows])


@pytest.mark.parametrize("most_bytes", [AMPLE, 0])
def test_a_worker_of_another_process_gets_the_way_to_the_pictures_and_not_the_pictures(
    data, expected, tmp_path, most_bytes
):
    pictures = opened(data, tmp_path, most_bytes=most_bytes)
    pictures.read(np.arange(COUNT))
    sent = pickle.dumps(pictures)
    assert len(sent) < 6000 < COUNT * 3 * SIDE**2
    assert torch.equal(pickle.loads(sent).read(np.arange(COUNT)), expected)


# ---------------------------------------------------------------- the cache
def test_a_second_run_maps_the_file_of_the_first(data, expected, tmp_path):
    first = opened(data, tmp_path)
    written = first.path.stat()
    again = opened(data, tmp_path)
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, written.st_mtime_ns)
    assert torch.equal(again.read(np.arange(COUNT)), expected)


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:0], lambda b: b"PK\x03\x04" + b, lambda b: b[:40]])
def test_a_damaged_file_is_not_used_but_made_again(data, expected, tmp_path, spoil):
    path = opened(data, tmp_path).path
    path.write_bytes(spoil(path.read_bytes()))
    assert torch.equal(opened(data, tmp_path).read(np.arange(COUNT)), expected)


@pytest.mark.parametrize("foreign", [np.zeros((COUNT, 3, SIDE, 25), dtype=np.uint8), np.zeros((COUNT, 3, SIDE, SIDE))])
def test_a_file_of_another_shape_or_type_is_not_used(data, expected, tmp_path, foreign):
    np.save(opened(data, tmp_path).path, foreign)
    assert torch.equal(opened(data, tmp_path).read(np.arange(COUNT)), expected)


def test_other_pictures_replace_the_file_and_what_a_kill_left(data, files, tmp_path):
    stale = opened(data, tmp_path / "cache").path
    killed = stale.with_name(".train-24-0123.npy.partial")
    killed.write_bytes(b"half")
    smaller = opened(data, tmp_path / "cache", size=16).path
    changed = opened(write_pictures(tmp_path / "other", files[::-1]), tmp_path / "cache").path
    assert not stale.exists()
    assert not killed.exists()
    assert changed.exists()
    assert smaller.exists()


def test_other_texts_find_the_pictures_decoded(data, files, tmp_path):
    path = opened(data, tmp_path / "cache").path
    copy = DataLayout(shutil.copytree(data.root, tmp_path / "copy"))
    for shard in pairs.shards(copy.pairs):
        table = pq.read_table(shard)
        texts = table.schema.get_field_index("caption")
        pq.write_table(table.set_column(texts, "caption", [["new"] * len(table)]), shard)
    assert opened(copy, tmp_path / "cache").path == path


@pytest.mark.parametrize("how", [{"interpolation": "bilinear"}, {"resize": "squash"}, {"resize": "letterbox"}])
def test_squares_of_another_preprocessing_are_not_used(data, tmp_path, how):
    usual, other = (opened(data, tmp_path, **fields).read(np.arange(COUNT)) for fields in ({}, how))
    assert not torch.equal(usual, other)


def test_processes_that_open_at_once_decode_once(data, tmp_path):
    cache = DecodedLayout(tmp_path)
    with FileLock(cache.lock("train", side=SIDE)):
        waiting = multiprocessing.get_context("fork").Process(target=opened, args=(data, tmp_path))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert not list(tmp_path.glob("*.npy"))
    waiting.join(20)
    assert waiting.exitcode == 0
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_too_little_room_says_how_much_is_needed_before_anything_is_decoded(data, tmp_path):
    with pytest.raises(WorkspaceError, match=r"need [\d.]+ GB, [\d.]+ GB are free; make room"):
        opened(data, tmp_path, most_bytes=2**62, size=2**22)
    assert not list(tmp_path.glob("*.npy*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to write to")
def test_a_disk_that_fills_up_meanwhile_says_the_same_and_leaves_nothing(data, tmp_path, monkeypatch):
    path = tmp_path / "squares.npy"
    monkeypatch.setattr(image_cache, "atomic_path", lambda _: nullcontext(Path("/dev/full")))
    streamed = Streamed(data, split="train", preprocessing=Preprocessing(size=SIDE))
    with pytest.raises(WorkspaceError, match="GB are free; make room"):
        image_cache._write(path, streamed, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_decoded_is_named_with_its_shard(files, tmp_path):
    damaged = write_pictures(tmp_path / "data", [*files[:9], b"not a picture", *files[:3]])
    for most_bytes in (AMPLE, 0):
        with pytest.raises(DataError, match=r"train-00001-of-00002.parquet, row 1 from 0: not a JPEG.*ingest again"):
            opened(damaged, tmp_path / "cache", most_bytes=most_bytes).read(np.array([9]))
    assert not list((tmp_path / "cache").glob("*.npy*"))


def test_an_empty_split_and_half_written_data_are_refused(data, files, tmp_path):
    with pytest.raises(DataError, match="'train' holds no pair"):
        opened(write_pictures(tmp_path / "val", files[:2], split="val"), tmp_path)
    with pytest.raises(DataError, match="half-written"):
        opened(DataLayout(tmp_path / "nothing"), tmp_path)
