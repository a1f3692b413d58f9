"""The Python client against the real service in this process, and against one that refuses."""

from collections.abc import Callable

import httpx
import pytest
from tiny import tiny_picture

from bentos import client as clients
from bentos.client import Client, ServiceError
from entityclip.schemas import Filter


@pytest.fixture
def service(client) -> Client:
    """Its requests go through the wire format, but through no socket."""

    def forward(request: httpx.Request) -> httpx.Response:
        kind = {"content-type": request.headers["content-type"]}
        answer = client.post(request.url.path, content=request.read(), headers=kind)
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    return Client("http://localhost", transport=httpx.MockTransport(forward))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    tiny_picture("red", 1).save(path)
    return path


@pytest.mark.slow
def test_every_question_has_a_typed_answer(service, photo, predictor):
    assert service.search("kx-green", k=2, target="entities").hits[0].exact
    assert service.search("disc", photo, k=2).hits == predictor.search("disc", tiny_picture("red", 1), k=2)
    assert service.search("disc", target="entities", where=Filter(categories=("pump",))).hits == []
    assert not service.tag(photo).unknown
    assert len(service.tag(photo.read_bytes(), k=2, precision=0.99).tags) == 2
    assert service.match(photo, "kx-red").entity_id == service.search("kx-red", k=1).hits[0].entity_id
    vectors = service.embed_images([photo, photo]).vectors + service.embed_texts(["true", "12"]).vectors
    assert [len(vector) for vector in vectors] == [predictor.model.dim] * 4
    assert service.about().model.entities == 6


def test_refusal_is_an_error_with_its_reason_and_status(service):
    with pytest.raises(ServiceError, match=r"/tag: 422: the picture cannot be used: empty file") as caught:
        service.tag(b"")
    assert caught.value.status == 422


def answering(*answers: httpx.Response | Exception) -> tuple[Client, list[httpx.Request]]:
    requests: list[httpx.Request] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if isinstance(outcome := left.pop(0), Exception):
            raise outcome
        return outcome

    return Client("http://localhost", key="ec_a_b", tries=3, transport=httpx.MockTransport(answer)), requests


BUSY = httpx.Response(503, json={"error": "the service is busy"}, headers={"retry-after": "7"})
DONE = httpx.Response(200, json={"release": "v1.0.0", "vectors": [[1.0]]})


@pytest.fixture
def waited(monkeypatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(clients.time, "sleep", seconds.append)
    return seconds


def test_busy_service_is_retried_after_its_retry_after(waited: list[float]):
    service, requests = answering(BUSY, httpx.ConnectError("away"), DONE)
    assert service.embed_texts(["a"]).vectors == [[1.0]]
    assert waited == [7.0, 1.0]
    assert [request.headers["authorization"] for request in requests] == ["Bearer ec_a_b"] * 3


@pytest.mark.parametrize(
    ("last", "reason"),
    [(BUSY, "503: the service is busy"), (httpx.ConnectError("away"), "no answer from http://localhost")],
)
def test_patience_ends(waited: list[float], last: httpx.Response | Exception, reason: str):
    make: Callable[[], Client] = lambda: answering(last, last, last)[0]  # noqa: E731
    with pytest.raises(ServiceError, match=reason):
        make().embed_texts(["a"])
    assert len(waited) == 2
