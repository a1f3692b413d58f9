"""Linear probes: they learn what vectors and colours of pictures say about a value, and not about their own entity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from entityclip.data.sources.synthetic.drawing import COLOURS
from entityclip.quality.claims.exchange import StatedClaim
from entityclip.quality.claims.probes import AttributeProbe, cross_fitted_scores, fit_probes, scores_of
from entityclip.quality.claims.split import Claim
from entityclip.quality.colour_histogram import BINS, colour_histogram
from entityclip.quality.model_scores import EntityPictures

ENTITIES, WIDTH = 200, 16
KEY = ("en", "pattern")
VALUES = {KEY: ("dots", "checks", "waves")}


def stated(values: list[str]) -> list[StatedClaim]:
    return [StatedClaim(i, "en", Claim("pattern", value, ((0, 1),))) for i, value in enumerate(values)]


def drawn(seed: int, *, informative: bool = True) -> tuple[EntityPictures, list[str]]:
    """Two pictures of each entity, whose vectors lean towards the direction of its pattern."""
    draw = np.random.default_rng(seed)
    values = draw.choice(VALUES[KEY], ENTITIES).tolist()
    directions = np.random.default_rng(0).normal(size=(3, WIDTH))
    centres = directions[[VALUES[KEY].index(value) for value in values]] * informative
    vectors = np.repeat(centres, 2, axis=0) + draw.normal(size=(2 * ENTITIES, WIDTH))
    owners = np.repeat([f"e{i}" for i in range(ENTITIES)], 2).tolist()
    return EntityPictures(owners, vectors.astype(np.float32)), values


TEXTS = pd.DataFrame({"entity_id": [f"e{i}" for i in range(ENTITIES)], "language": "en"})


def accuracy(scores: pd.DataFrame, values: list[str]) -> float:
    best = scores.reindex(TEXTS["entity_id"]).idxmax(axis=1)
    return float((best.to_numpy() == np.array(values)).mean())


def test_a_probe_reads_new_entities() -> None:
    learned, values = drawn(1)
    probes = fit_probes(learned, stated(values), TEXTS, VALUES)
    new, truth = drawn(2)
    assert accuracy(scores_of(probes, new)[KEY], truth) > 0.9


def test_cross_fitted_scores_know_nothing_of_their_own_entity() -> None:
    noise, values = drawn(3, informative=False)
    claims = stated(values)
    own = scores_of(fit_probes(noise, claims, TEXTS, VALUES), noise)[KEY]
    crossed = cross_fitted_scores(noise, noise, claims, TEXTS, VALUES)[KEY]
    assert len(crossed) == ENTITIES
    assert accuracy(own, values) > 0.45  # it has learned the noise
    assert accuracy(crossed, values) < 0.4


def test_another_language_and_an_attribute_without_values_get_no_probe() -> None:
    learned, values = drawn(1)
    some = {**VALUES, ("ja", "pattern"): ("水玉",), ("en", "label"): ()}
    assert {(one.language, one.attribute) for one in fit_probes(learned, stated(values), TEXTS, some)} == {KEY}


@pytest.mark.parametrize("same", ["vectors", "colours"])
def test_features_that_never_vary_are_no_trouble(same: str) -> None:
    learned, values = drawn(1)
    flat = np.ones((len(learned.owners), 5), dtype=np.float32)
    pictures = learned._replace(colours=flat)
    if same == "vectors":
        pictures = EntityPictures(learned.owners, flat, learned.vectors)
    scores = scores_of(fit_probes(pictures, stated(values), TEXTS, VALUES), pictures)[KEY]
    assert np.isfinite(scores.to_numpy()).all()
    assert accuracy(scores, values) > 0.9


def test_stored_probes_give_the_same_scores(tmp_path: Path) -> None:
    learned, values = drawn(1)
    (probe,) = fit_probes(learned, stated(values), TEXTS, VALUES)
    probe.write(tmp_path / "probe.json")
    again = AttributeProbe.read(tmp_path / "probe.json")
    assert again == probe
    with pytest.raises(ValueError, match="matmul"):  # pictures of another model
        probe.scores(learned._replace(vectors=learned.vectors[:, :3]))


@pytest.mark.parametrize("name", ["red", "blue", "white", "black"])
def test_the_histogram_of_a_plain_picture_has_one_bin(name: str) -> None:
    found = colour_histogram(Image.new("RGB", (300, 200), COLOURS[name]))
    assert found.shape == (np.prod(BINS),)
    assert (found > 0).sum() == 1
    assert np.linalg.norm(found) == pytest.approx(1)
    others = [colour_histogram(Image.new("RGB", (8, 8), COLOURS[other])) for other in COLOURS if other != name]
    assert max(float(found @ other) for other in others) < 1
