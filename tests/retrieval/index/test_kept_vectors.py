"""Vectors of pictures are computed once for a model and the same pictures, and a damaged file is computed again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import CheckpointLayout
from entityclip.retrieval.index import PictureIndex
from entityclip.retrieval.index.kept_vectors import drop_unused, kept_vectors


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call embeds."""
    counts: list[int] = []
    embed = LoadedModel.embed_images

    def counted(self: LoadedModel, images: list[object], **options: int) -> np.ndarray:
        vectors = embed(self, images, **options)  # type: ignore[arg-type]
        counts.append(len(vectors))
        return vectors

    monkeypatch.setattr(LoadedModel, "embed_images", counted)
    return counts


def test_the_same_pictures_are_embedded_once(tmp_path: Path, embedded: list[int]) -> None:
    data = tiny_data(tmp_path / "data")
    tiny_model(tmp_path / "model")
    plain = checkpoint.load(CheckpointLayout(tmp_path / "model"))
    model = replace(plain, vectors=tmp_path / "vectors")
    first, second = (PictureIndex.build(model, data, split="train") for _ in range(2))
    count = len(pairs.read_frame(data.pairs, name="train"))
    assert sum(embedded) == count
    without = PictureIndex.build(plain, data, split="train")
    for found in (first, second):
        assert np.array_equal(found.vectors, without.vectors)
        assert found.rows.equals(without.rows)
    embedded.clear()
    PictureIndex.build(model, data)  # all splits: those of train are known
    assert sum(embedded) == len(pairs.read_frame(data.pairs)) - count
    embedded.clear()
    few = PictureIndex.build(model, data, split="train", most=3)
    assert (len(few.rows), sum(embedded)) == (3, 3)


def test_another_model_and_a_damaged_file_are_computed_again(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    loaded = checkpoint.load(CheckpointLayout(tmp_path / "model"))
    model, made = replace(loaded, vectors=tmp_path / "vectors"), []

    def embed() -> np.ndarray:
        made.append(1)
        return np.full((2, loaded.dim), len(made), dtype=np.float32)

    assert kept_vectors(model, ["a", "b"], embed)[0, 0] == 1
    assert kept_vectors(model, ["a", "b"], embed)[0, 0] == 1
    assert kept_vectors(model, ["b", "a"], embed)[0, 0] == 2
    other = replace(model, card=model.card.model_copy(update={"fingerprint": "other"}))
    assert kept_vectors(other, ["a", "b"], embed)[0, 0] == 3
    files = sorted((tmp_path / "vectors").iterdir())
    assert len(files) == 3
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content[:-7] if file == files[0] else content)
    assert {kept_vectors(model, ids, embed)[0, 0] for ids in (["a", "b"], ["b", "a"])} == {4, 5}


def test_what_a_run_did_not_use_is_deleted(tmp_path: Path) -> None:
    for name, moment in (("old", 100), ("used", 300)):
        (tmp_path / f"{name}.npz").touch()
        os.utime(tmp_path / f"{name}.npz", (moment, moment))
    drop_unused(tmp_path, since=200)
    assert [path.name for path in tmp_path.iterdir()] == ["used.npz"]
    drop_unused(tmp_path / "missing", since=200)
