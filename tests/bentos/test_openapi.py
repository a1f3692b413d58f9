"""The service does what ``/docs.json`` says: requests made from the description, sound and broken ones, over HTTP."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from callers import bearer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks
from tiny import tiny_picture

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from entityclip.paths import StateLayout

EXAMPLES = int(os.environ.get("ENTITYCLIP_SCHEMA", "30"))
"""Requests for each endpoint, and each of sound and broken."""
PATHS = (
    *("/search", "/tag", "/match", "/embed_texts", "/embed_images"),
    *("/entities", "/entities/remove", "/feedback", "/about"),
)
PROBES = ("/livez", "/healthz", "/readyz", "/metrics")
AS_DESCRIBED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

pytestmark = pytest.mark.slow


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    tiny_picture(colour, 1).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> StateLayout:
    return StateLayout(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def headers(state: StateLayout) -> dict[str, str]:
    scopes = ("query", "feedback", "entities", "metrics")
    return bearer(keys.make(state.keys, name="all", scopes=scopes, per_minute=1_000_000, max_concurrency=1000))


@pytest.fixture(scope="module")
def url(store_home: Path, state: StateLayout, headers: dict[str, str]) -> Iterator[str]:
    with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
        yield url


@pytest.fixture(scope="module")
def description(url: str) -> schemathesis.BaseSchema:
    sound = [picture(colour) for colour in ("red", "green", "blue", "orange", "pink", "black")]
    schemathesis.openapi.format("binary", st.sampled_from([*sound, b"no picture", b""]))
    return schemathesis.openapi.from_url(f"{url}/docs.json")


def test_every_endpoint_is_described(description):
    assert {operation.ok().path for operation in description.get_all_operations()} == {*PATHS, *PROBES}


@pytest.mark.parametrize("path", PROBES)
def test_probes_answer_as_described(description, url, headers, path):
    case = description[path]["GET"].Case()
    case.validate_response(case.call(base_url=url, headers=headers, timeout=60), checks=AS_DESCRIBED)


@pytest.mark.parametrize("path", PATHS)
def test_who_has_no_key_is_refused_as_described(description, url, path):
    case = description[path]["POST"].Case(body={}, media_type="application/json")
    answer = case.call(base_url=url, timeout=60)
    assert answer.status_code == 401
    case.validate_response(answer, checks=AS_DESCRIBED)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["sound", "broken"])
@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_described_and_none_is_a_failure(description, url, headers, path, mode):
    statuses: Counter[int] = Counter()

    @given(case=description[path]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(base_url=url, headers=headers, timeout=60)
        case.validate_response(answer, checks=AS_DESCRIBED)
        statuses[answer.status_code] += 1

    ask()
    assert all(status < 500 or status in (503, 504) for status in statuses), statuses
    if mode is GenerationMode.NEGATIVE:
        assert sum(statuses[status] for status in (400, 415, 422)) > 0
    elif path not in ("/search", "/entities/remove", "/feedback"):  # an id, fields that need or exclude each other
        assert statuses[200] > 0, statuses
    found = httpx.post(
        f"{url}/search", json={"text": "kx-red", "target": "entities"}, headers=headers, timeout=60
    ).json()
    assert found["hits"][0]["exact"]
