"""A running service tags files as the model in this process does."""

import httpx
import pytest
from printed import card, needs_reader
from tiny import COLOURS, tiny_picture

from bentos.client import Client, ServiceError
from entityclip.annotation import annotate, picture_files
from entityclip.annotation.records import Records
from entityclip.annotation.tag_files import PredictorTagger
from flows.tag_by_service import ServiceTagger


@pytest.fixture
def service(client) -> Client:
    def forward(request: httpx.Request) -> httpx.Response:
        kind = {"content-type": request.headers["content-type"]}
        answer = client.post(request.url.path, content=request.read(), headers=kind)
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    return Client("http://localhost", transport=httpx.MockTransport(forward))


def test_a_service_gives_the_same_tags(service, predictor, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(COLOURS):
        tiny_picture(colour, number).save(photos / f"{colour}.png")
    (photos / "notes.txt").write_text("not a picture")
    items = picture_files(photos)
    here, there = (Records(tmp_path / name) for name in ("here", "there"))
    inside, _ = annotate(items, PredictorTagger(predictor), here)
    outside, _ = annotate(items, ServiceTagger(service, k=5, precision=0.9), there)
    for ours, theirs in zip(inside, outside, strict=True):
        assert [tag.entity for tag in ours.tags] == [tag.entity for tag in theirs.tags]
        assert (ours.problem, ours.width, ours.unknown) == (theirs.problem, theirs.width, theirs.unknown)


@needs_reader
@pytest.mark.slow
def test_a_service_reads_labels_where_they_are_wanted(service, tmp_path):
    (photos := tmp_path / "photos").mkdir()
    card(("KX-RED", (30, 60)), ("090-1234-5678", (30, 160)), pixels=40).save(photos / "card.png")
    items = picture_files(photos)
    (found,), _ = annotate(items, ServiceTagger(service, k=5, precision=0.9, read=True), Records(tmp_path / "read"))
    assert ([label.text for label in found.labels], found.reading) == (["KX-RED"], "read")
    assert (found.tags[0].entity, found.tags[0].why[0].by) == ("KX-RED", "label")
    card(("KX-RED TEL 090-1234-5678", (10, 90)), pixels=24).save(photos / "card.png")
    (line,), _ = annotate(
        picture_files(photos), ServiceTagger(service, k=5, precision=0.9, read=True), Records(tmp_path / "line")
    )
    assert (line.labels, line.reading) == ((), "read")
    assert "1234" not in line.model_dump_json()
    (unread,), _ = annotate(items, ServiceTagger(service, k=5, precision=0.9), Records(tmp_path / "unread"))
    assert (unread.labels, unread.reading) == ((), None)


def test_a_service_that_refuses_stops_the_run(predictor, tmp_path):
    """Nothing is kept that would look like a file without tags."""
    tiny_picture("red", 1).save(tmp_path / "red.png")
    about = {"status_code": 401, "json": {"error": "no key"}}
    service = Client("http://localhost", transport=httpx.MockTransport(lambda _: httpx.Response(**about)))
    with pytest.raises(ServiceError, match="no key"):
        ServiceTagger(service, k=5, precision=0.9)
