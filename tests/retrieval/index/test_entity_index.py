"""Indexes by a real model on a real data version: what the vectors are made of, and who may read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny import COLOURS, tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import CheckpointError, ConfigError, DataError, IndexMismatch
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout, IndexLayout
from entityclip.retrieval.index import DEFAULT_MIX, EntityIndex, PictureIndex, slice_of
from entityclip.retrieval.vectors import unit


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def index(model: LoadedModel, data: DataLayout) -> EntityIndex:
    return EntityIndex.build(model, data)


@pytest.mark.parametrize(("pictures", "name"), [(0, "none"), (1, "one"), (2, "few"), (9, "few"), (10, "frequent")])
def test_slices_begin_where_they_say(pictures, name):
    assert slice_of(pictures) == name


def test_every_entity_is_a_candidate_with_its_slice(index):
    assert index.rows["entity"].tolist() == [f"KX-{c.upper()}" for c in COLOURS]
    assert index.rows["slice"].tolist() == ["frequent", "few", "few", "one", "none", "none"]
    assert index.rows["train_pictures"].tolist() == [10, 3, 2, 1, 0, 0]


def test_caption_vector_is_that_of_the_name(index, model):
    assert index.vectors["caption"] == pytest.approx(model.embed_texts(list(index.rows["entity"])), abs=1e-5)


def test_explanation_vector_never_saw_the_name(index, model):
    masked = model.embed_texts(["The this product has a body like a red disc."])[0]
    assert index.vectors["explanation"][0] == pytest.approx(masked, abs=1e-5)


def test_model_trained_with_names_is_queried_with_names(tmp_path, data):
    unmasked = tiny_model(tmp_path, config={"mask_names": False})
    named = unmasked.embed_texts(["The KX-RED has a body like a red disc."])[0]
    assert EntityIndex.build(unmasked, data).vectors["explanation"][0] == pytest.approx(named, abs=1e-5)


def test_entity_without_explanation_falls_back_to_its_name(index):
    assert index.rows["has_explanation"].tolist() == [True] * 5 + [False]
    assert (index.vectors["explanation"][-1] == index.vectors["caption"][-1]).all()


def test_several_explanations_are_averaged(tmp_path, model):
    data = tiny_data(tmp_path)
    texts = ["A disc.", "Something round."]
    rows = [
        dict.fromkeys(pairs.EXPLANATIONS.names, "") | {"entity_id": pairs.entity_id("KX-RED"), "text": text}
        for text in texts
    ]
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    mean = unit(model.embed_texts(texts).mean(axis=0, keepdims=True))[0]
    assert EntityIndex.build(model, data).vectors["explanation"][0] == pytest.approx(mean, abs=1e-5)


def test_single_vectors_have_length_one_and_a_mixture_is_their_mean(index):
    for kind in ("caption", "explanation"):
        assert np.linalg.norm(index.vectors[kind], axis=1) == pytest.approx(1, abs=1e-5)
    halfway = (index.vectors["caption"] + index.vectors["explanation"]) / 2
    assert index.vectors["mixed"][:4] == pytest.approx(halfway[:4], abs=1e-6)


def test_mix_weighs_the_explanation_by_slice(index):
    mixed = index.remixed({"frequent": 0.0, "few": 1.0})
    assert mixed.vectors["mixed"][0] == pytest.approx(index.vectors["caption"][0], abs=1e-6)
    assert mixed.vectors["mixed"][1] == pytest.approx(index.vectors["explanation"][1], abs=1e-6)
    assert mixed.mix == DEFAULT_MIX | {"frequent": 0.0, "few": 1.0}


def test_mix_of_the_checkpoint_card_is_used(tmp_path, data):
    carded = tiny_model(tmp_path, mix={"one": 0.3})
    assert EntityIndex.build(carded, data).mix["one"] == 0.3


def test_stretch_of_the_checkpoint_card_is_used_however_often_the_index_is_mixed(tmp_path, data):
    index = EntityIndex.build(tiny_model(tmp_path, slice_scale={"none": 1.1}), data)
    plain = index.remixed(index.mix)
    factors = np.where(index.rows["slice"] == "none", 1.1, 1.0)[:, None].astype(np.float32)
    for again in (index, index.remixed(index.mix, slice_scale=index.slice_scale)):
        assert again.vectors["mixed"] == pytest.approx(factors * plain.vectors["mixed"], abs=1e-6)
        assert (again.vectors["explanation"] == plain.vectors["explanation"]).all()
    assert factors.max() > 1


@pytest.mark.parametrize("slice_scale", [{"rare": 1.1}, {"none": 0.0}, {"none": float("nan")}])
def test_impossible_slice_scale_is_refused(index, slice_scale):
    with pytest.raises(ConfigError, match="expected a factor above 0"):
        index.remixed({}, slice_scale=slice_scale)


@pytest.mark.parametrize("mix", [{"rare": 0.5}, {"few": 1.5}, {"few": float("nan")}])
def test_impossible_mix_is_refused(index, mix):
    with pytest.raises(ConfigError, match="expected a weight from 0 to 1"):
        index.remixed(mix)


@pytest.mark.parametrize("query", ["KX-RED", " kx-red ", "ＫＸ-ＲＥＤ", "Red Kettle"])
def test_entity_is_found_by_name_or_alias_however_typed(index, query):
    assert index.named(query) == [0]
    assert index.named("KX-REDDER") == []


def test_unknown_entity_is_an_error(index):
    with pytest.raises(DataError, match="nobody"):
        index.rows_of(["nobody"])


def test_entity_index_survives_saving(tmp_path, index):
    layout = IndexLayout(tmp_path / "deep" / "entities")
    for _ in range(2):  # the second time over the first
        index.save(layout)
    loaded = EntityIndex.load(layout, fingerprint=index.fingerprint)
    assert (loaded.mix, loaded.slice_scale) == (index.mix, index.slice_scale)
    assert loaded.named("red kettle") == [0]
    assert loaded.rows.drop(columns=["aliases", "tags"]).equals(index.rows.drop(columns=["aliases", "tags"]))
    assert all((loaded.vectors[kind] == index.vectors[kind]).all() for kind in index.vectors)
    assert [p.name for p in layout.root.parent.iterdir()] == ["entities"]


def test_index_of_another_model_is_refused_by_both_names(tmp_path, index):
    index.save(IndexLayout(tmp_path / "i"))
    with pytest.raises(IndexMismatch, match=f"{index.fingerprint}.*another"):
        EntityIndex.load(IndexLayout(tmp_path / "i"), fingerprint="another")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _drop_a_vector(path: Path) -> None:
    save_file({kind: v[1:] for kind, v in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("card", Path.unlink),
        ("card", lambda path: path.write_text("[]")),
        ("card", lambda path: path.write_text("{")),
        ("card", lambda path: path.write_text(json.dumps({"fingerprint": "x"}))),
        ("vectors", _truncate),
        ("vectors", Path.unlink),
        ("vectors", _drop_a_vector),
        ("rows", _truncate),
        ("rows", Path.unlink),
    ],
)
def test_damaged_index_is_an_error_that_says_what_to_do(tmp_path, index, file, spoil):
    layout = IndexLayout(tmp_path / "i")
    index.save(layout)
    spoil(getattr(layout, file))
    with pytest.raises(DataError, match="build"):
        EntityIndex.load(layout, fingerprint=index.fingerprint)


def test_picture_index_holds_one_split_or_all(tmp_path, model, data):
    test, whole = PictureIndex.build(model, data, split="test"), PictureIndex.build(model, data)
    assert (len(test.rows), len(whole.rows)) == (18, 40)
    assert test.vectors == pytest.approx(whole.vectors[(whole.rows["split"] == "test").to_numpy()], abs=1e-5)
    assert test.rows["path"].iloc[0] == "red/11.png"
    whole.save(IndexLayout(tmp_path / "p"))
    loaded = PictureIndex.load(IndexLayout(tmp_path / "p"), fingerprint=model.card.fingerprint)
    assert loaded.rows.equals(whole.rows)
    with pytest.raises(DataError, match="build"):
        EntityIndex.load(IndexLayout(tmp_path / "p"), fingerprint=model.card.fingerprint)


def test_sample_of_the_pictures_is_embedded_alone_and_is_the_same_every_time(model, data, monkeypatch):
    whole, seen = PictureIndex.build(model, data), []
    monkeypatch.setattr("entityclip.retrieval.index.embedding.decode", lambda data: seen.append(data) or decode(data))
    sample = PictureIndex.build(model, data, most=7)
    assert len(seen) == 7
    chosen = whole.rows["pair_id"].isin(sorted(whole.rows["pair_id"])[:7])
    assert sample.rows.equals(whole.rows[chosen].reset_index(drop=True))
    assert sample.vectors == pytest.approx(whole.vectors[chosen], abs=1e-5)


def test_broken_picture_in_the_data_is_named(tmp_path, model):
    data = tiny_data(tmp_path)
    row = next(pairs.iter_rows(data.pairs, name="val"))
    pairs.write_rows(data.pairs, pairs.PAIRS, [row | {"image": {"bytes": b"no", "path": "x.png"}}], name="val")
    with pytest.raises(DataError, match=f"{row['pair_id']} .x.png"):
        PictureIndex.build(model, data, split="val")


def test_model_that_diverged_makes_no_index(tmp_path, data):
    broken = tiny_model(tmp_path)
    for weight in broken.model.parameters():
        weight.data.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="diverged"):
        EntityIndex.build(broken, data)
