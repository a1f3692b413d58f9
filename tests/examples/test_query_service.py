"""The clients in Python and JavaScript, against the service as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import run
from tiny import tiny_picture

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from entityclip.paths import StateLayout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateLayout:
    return StateLayout(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def key(state: StateLayout) -> str:
    return keys.make(state.keys, name="shop")


@pytest.fixture(scope="module")
def url(store_home: Path, state: StateLayout, key: str) -> Iterator[str]:
    with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
        yield url


@pytest.mark.parametrize("client", ["python examples/query_service/query.py", "node examples/query_service/query.mjs"])
def test_a_picture_gets_tags_and_its_first_tag_is_found_by_name(
    client: str, url: str, key: str, tmp_path: Path, program: Callable[..., Path]
) -> None:
    if client.startswith("node"):
        program("node", package="nodejs")
    tiny_picture("red", 1).save(tmp_path / "photo.png")
    release, *tags, found = run(f"{client} {url} photo.png", tmp_path, ENTITYCLIP_KEY=key).splitlines()
    assert release == "release v1.0.0, known"
    assert len(tags) == 3
    assert found.startswith("found by ")
    assert found.endswith(tags[0].split()[0])
