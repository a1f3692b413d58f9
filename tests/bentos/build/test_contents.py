"""What a package holds: every picture of the accepted rows stands for its entity, whatever its split."""

import numpy as np
import pytest
from promotion_reports import first_decision
from tiny import TRAIN_PICTURES, tiny_data, tiny_model

from bentos.build.contents import lay_out
from entityclip.paths import Layout, PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import PackageCard, Release


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[EntityIndex, PictureIndex]:
    """Both indexes of a package of six entities; the last two were held out of training, with four pictures each."""
    root = tmp_path_factory.mktemp("release")
    source, data = Layout(root), tiny_data(root / "data")
    model = tiny_model(source.model.root)
    package = PackageLayout(root / "package")
    package.root.mkdir()
    fingerprint = model.card.fingerprint
    first_decision(fingerprint).write(source.report("promotion"))
    release = Release(version="v1.0.0", commit="c0ffee", data_hash="data", model_fingerprint=fingerprint)
    lay_out(package, source, data, PackageCard(release=release, suite_hash="suite", licences=()))
    return (
        EntityIndex.load(package.entities, fingerprint=fingerprint),
        PictureIndex.load(package.pictures, fingerprint=fingerprint),
    )


def test_products_held_out_of_training_are_served_with_all_of_their_pictures(packaged) -> None:
    entities, pictures = packaged
    assert entities.rows["train_pictures"].tolist() == list(TRAIN_PICTURES)
    assert entities.rows["pictures"].tolist() == [count + 4 for count in TRAIN_PICTURES]
    held_out = pictures.rows["entity_id"].isin(entities.rows["entity_id"][-2:])
    assert set(pictures.rows.loc[held_out, "split"]) == {"val", "test"}


def test_a_held_out_product_is_recognised_by_its_own_pictures(packaged) -> None:
    entities, pictures = packaged
    own = pictures.rows["entity_id"] == entities.rows["entity_id"].iloc[-1]
    mean = pictures.vectors[own.to_numpy()].mean(axis=0)
    assert entities.vectors["images"][-1] @ mean == pytest.approx(float(np.linalg.norm(mean)), abs=1e-5)
    assert entities.pictured.all()
