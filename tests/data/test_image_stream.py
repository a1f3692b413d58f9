"""Streaming: an epoch in random order that still reads each row group about once."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shards import write_pictures

from entityclip.data.image_stream import RowGroups, Streamed, blocked_order
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import DataError
from entityclip.paths import DataLayout


def rng(epoch: int = 0) -> np.random.Generator:
    return np.random.default_rng((0, epoch))


def loads(groups: np.ndarray, *, held: int) -> int:
    """How often a reader loads a group that drops the one least recently used."""
    at_hand: OrderedDict[int, None] = OrderedDict()
    count = 0
    for group in groups.tolist():
        if group not in at_hand:
            count += 1
            if len(at_hand) == held:
                at_hand.popitem(last=False)
        at_hand[group] = None
        at_hand.move_to_end(group)
    return count


@given(groups=st.lists(st.integers(0, 9), max_size=60), window=st.integers(1, 12), epoch=st.integers(0, 5))
def test_every_row_comes_once_and_every_group_is_loaded_once(groups, window, epoch):
    of = np.array(groups, dtype=np.int64)
    ordered = blocked_order(np.arange(len(of)), groups=of, window=window, rng=rng(epoch))
    assert sorted(ordered) == list(range(len(of)))
    assert loads(of[ordered], held=window) == len(set(groups))


def test_the_order_is_of_the_seed_and_the_epoch_alone():
    rows, groups = np.arange(90), np.repeat(np.arange(9), 10)
    once, again, next_epoch = (
        blocked_order(rows, groups=groups, window=3, rng=rng(epoch)).tolist() for epoch in (0, 0, 1)
    )
    assert once == again != next_epoch


def test_a_window_over_everything_is_a_free_shuffle_and_mixes_the_groups():
    rows, groups = np.arange(1000), np.repeat(np.arange(10), 100)
    ordered = blocked_order(rows, groups=groups, window=10, rng=rng())
    assert all(len(set(groups[ordered[i : i + 100]])) == 10 for i in range(0, 1000, 100))


def test_rows_drawn_twice_stay_twice():
    rows = np.array([5, 5, 1, 5])
    assert sorted(blocked_order(rows, groups=rows // 2, window=1, rng=rng())) == [1, 5, 5, 5]


# ---------------------------------------------------------------- shards
@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, picture_bytes) -> DataLayout:
    """Sixty pictures in row groups of three, three groups to a shard."""
    files = [picture_bytes(i, kind="BMP") for i in range(60)]
    return write_pictures(tmp_path_factory.mktemp("data"), files, shard=9, group=3)


def streamed(data: DataLayout, *, groups: int) -> Streamed:
    largest = RowGroups(data.pairs, split="train").largest_bytes
    return Streamed(data, split="train", preprocessing=Preprocessing(size=16), held_bytes=groups * largest)


def test_rows_are_found_in_their_groups(data):
    groups = RowGroups(data.pairs, split="train")
    assert len(groups) == 60
    assert groups.of(np.array([0, 2, 3, 8, 9, 59])).tolist() == [0, 0, 1, 2, 3, 19]
    places = [(shard.name, number) for shard, number in groups.places[2:4]]
    assert places == [("train-00000-of-00007.parquet", 2), ("train-00001-of-00007.parquet", 0)]


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_an_epoch_in_batches_reads_every_group_once(data, batch):
    pictures = streamed(data, groups=4)
    rows = pictures.arrange(rng().permutation(60), rng=rng())
    for i in range(0, 60, batch):
        pictures.read(rows[i : i + batch])
    assert pictures.groups_read == 20


def test_in_free_order_groups_are_read_again_and_again(data):
    pictures = streamed(data, groups=4)
    for rows in rng().permutation(60).reshape(-1, 4):
        pictures.read(rows)
    assert pictures.groups_read > 30


def test_no_more_groups_are_held_than_fit(data):
    pictures = streamed(data, groups=4)
    pictures.read(np.arange(60))
    assert len(pictures._held) == pictures.window == 4
    assert streamed(data, groups=0).window == 1


def test_a_single_row_reads_a_single_group_of_its_shard(data):
    pictures = streamed(data, groups=4)
    pictures.read(np.array([31]))
    assert pictures.groups_read == 1
    assert len(pictures.groups.read(10)) == 3


def test_a_shard_that_vanishes_is_named(picture_bytes, tmp_path):
    data = write_pictures(tmp_path, [picture_bytes(i) for i in range(4)])
    pictures = Streamed(data, split="train", preprocessing=Preprocessing(size=16))
    pictures.groups.places[0][0].unlink()
    with pytest.raises(DataError, match=r"train-00000-of-00001.parquet: damaged \(.*No such file"):
        pictures.read(np.array([0]))
