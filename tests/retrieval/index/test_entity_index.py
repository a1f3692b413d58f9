"""Indexes by a real model on a real data version: what the vectors are made of, and who may read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from tiny import COLOURS, tiny_data, tiny_model

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import CheckpointError, ConfigError, DataError, IndexMismatch
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout, IndexLayout
from entityclip.retrieval.index import DEFAULT_MIXTURE, EntityIndex, PictureIndex, slice_of
from entityclip.retrieval.vectors import unit
from entityclip.schemas import Mixture


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
    assert index.vectors["images"] == pytest.approx(0)
    mean = 0.25 * index.vectors["caption"] + 0.75 * index.vectors["explanation"]  # 1 to 3, where there are no pictures
    assert index.vectors["mixed"][:3] == pytest.approx(mean[:3], abs=1e-6)


def test_images_vector_is_the_mean_of_the_pictures_that_it_was_given(index, model, data):
    taught, every = PictureIndex.build(model, data, split="train"), PictureIndex.build(model, data)
    known = EntityIndex.build(model, data, pictures=taught)
    assert known.rows["pictures"].tolist() == [10, 3, 2, 1, 0, 0]
    own = taught.vectors[(taught.rows["entity"] == "KX-RED").to_numpy()]
    assert known.vectors["images"][0] == pytest.approx(unit(own.mean(axis=0, keepdims=True))[0], abs=1e-5)
    assert known.vectors["images"][4:] == pytest.approx(0)
    whole = index.with_pictures(every)
    assert whole.rows["pictures"].sum() == len(every.rows)
    assert np.linalg.norm(whole.vectors["images"], axis=1) == pytest.approx(1, abs=1e-5)
    assert whole.rows["slice"].equals(known.rows["slice"])  # slices are about training


WEIGHTS = Mixture(caption=0.5, explanation=0.25, images=0.25, scale=1.1, offset=0.05)


def test_mixture_weighs_by_group(model, data):
    taught = PictureIndex.build(model, data, split="train")
    index = EntityIndex.build(model, data, pictures=taught).remixed({"few": WEIGHTS})
    caption, explanation, images = (index.vectors[kind] for kind in ("caption", "explanation", "images"))
    expected = 1.1 * (0.5 * caption + 0.25 * explanation + 0.25 * images)
    assert index.vectors["mixed"][1:3] == pytest.approx(expected[1:3], abs=1e-6)
    assert index.vectors["mixed"][4:] == pytest.approx(explanation[4:], abs=1e-6)
    assert index.mixture == DEFAULT_MIXTURE | {"few": WEIGHTS}
    similar = index.similarities(taught.vectors, "mixed")
    assert similar == pytest.approx(taught.vectors @ index.vectors["mixed"].T + [[0, 0.05, 0.05, 0, 0, 0]], abs=1e-6)
    assert (index.similarities(taught.vectors[0], "images")[4:] == -1).all()


def test_entity_that_was_not_trained_on_has_weights_of_its_own_once_it_has_pictures(index, model, data):
    late = Mixture(caption=0, explanation=0.2, images=0.8)
    mixed = index.with_pictures(PictureIndex.build(model, data)).remixed({"untrained": late})
    expected = 0.2 * mixed.vectors["explanation"] + 0.8 * mixed.vectors["images"]
    assert mixed.vectors["mixed"][4] == pytest.approx(expected[4], abs=1e-6)
    assert mixed.vectors["mixed"][5] == pytest.approx(mixed.vectors["images"][5], abs=1e-6)  # it has no explanation
    assert mixed.offsets["mixed"][5] == np.float32(DEFAULT_MIXTURE["unexplained"].offset)


def test_text_is_compared_with_texts_whatever_the_mixture(index, model, data):
    text = model.embed_texts(["a red disc"])[0]
    other = index.with_pictures(PictureIndex.build(model, data)).remixed(dict.fromkeys(DEFAULT_MIXTURE, WEIGHTS))
    assert (other.text_similarities(text, "mixed") == index.text_similarities(text, "mixed")).all()


def test_mixture_of_the_checkpoint_card_is_used(tmp_path, data):
    carded = tiny_model(tmp_path, mixture={"one": WEIGHTS})
    assert EntityIndex.build(carded, data).mixture["one"] == WEIGHTS


@pytest.mark.parametrize(
    "weights",
    [
        {"caption": 0.5, "explanation": 0.5, "images": 0.5},
        {"caption": -0.5, "explanation": 1.5, "images": 0},
        {"caption": 1, "explanation": 0, "images": 0, "scale": 0},
        {"caption": float("nan"), "explanation": 0, "images": 1},
    ],
)
def test_impossible_mixture_is_refused(weights):
    with pytest.raises(ValidationError):
        Mixture(**weights)


def test_mixture_of_an_unknown_group_is_refused(index):
    with pytest.raises(ConfigError, match=r"rare.*frequent, few, one, none, untrained, unexplained"):
        index.remixed({"rare": WEIGHTS})


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
    assert loaded.mixture == index.mixture
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
        ("card", lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"mixture": {"rare": {}}}))),
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
