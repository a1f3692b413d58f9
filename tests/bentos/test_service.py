"""The service in this process, on a tiny real model: same scores as the predictor, and a reason for every refusal."""

import io
import json
import struct
import zlib
from collections.abc import Iterator

import pytest
from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from prometheus_client import REGISTRY
from tiny import tiny_picture

from bentos.middleware.body import BODY_BYTES
from bentos.schemas import requests

JSON = {"content-type": "application/json"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
FORM = {"content-type": "multipart/form-data; boundary=xx"}


def png(colour: str = "red", number: int = 1) -> bytes:
    stream = io.BytesIO()
    tiny_picture(colour, number).save(stream, "PNG")
    return stream.getvalue()


def picture(content: bytes, name: str = "p.png", kind: str = "image/png") -> dict:
    return {"image": (name, content, kind)}


# ---------------------------------------------------------------- answers
def test_ready_once_the_model_has_answered_itself(client):
    assert client.get("/readyz").status_code == 200


def test_ready_while_no_thread_is_free_for_requests(client):
    async def hold() -> tuple[CapacityLimiter, float]:
        limiter = current_default_thread_limiter()
        before, limiter.total_tokens = limiter.total_tokens, 1
        await limiter.acquire_on_behalf_of("a request")
        return limiter, before

    limiter, before = client.portal.call(hold)
    try:
        assert client.get("/readyz").status_code == 200
    finally:
        client.portal.call(limiter.release_on_behalf_of, "a request")
        client.portal.call(setattr, limiter, "total_tokens", before)


def test_tag_marks_what_reaches_the_requested_precision(client):
    def vouched(**fields: str) -> int:
        tags = client.post("/tag", files=picture(png()), data=fields).json()["tags"]
        return sum(tag["above_threshold"] for tag in tags)

    assert vouched() > vouched(precision="0.99") == 0  # the card has a threshold for 0.9 alone
    refused = client.post("/tag", files=picture(png()), data={"precision": "0.7"})
    _refused(refused, reason="precision 0.7 was not calibrated")


def test_tag_gives_the_predictors_scores(client, predictor):
    answer = client.post("/tag", files=picture(png()), data={"k": "6"}).json()
    expected = predictor.tag(tiny_picture("red", 1), k=6)
    assert answer["release"] == "v1.0.0"
    assert [t["entity"] for t in answer["tags"]] == [t.entity for t in expected]
    assert [t["score"] for t in answer["tags"]] == pytest.approx([t.score for t in expected], abs=1e-6)


def test_search_by_text_and_picture_gives_the_predictors_hits(client, predictor):
    answer = client.post("/search", files=picture(png()), data={"text": "a disc", "k": "4"}).json()
    expected = predictor.search("a disc", tiny_picture("red", 1), k=4)
    assert [h["pair_id"] for h in answer["hits"]] == [h.pair_id for h in expected]
    assert [h["score"] for h in answer["hits"]] == pytest.approx([h.score for h in expected], abs=1e-6)


def test_exact_code_comes_first(client):
    hits = client.post("/search", json={"text": "kx-green", "k": 3, "target": "entities"}).json()["hits"]
    assert hits[0]["entity"] == "KX-GREEN"
    assert [h["exact"] for h in hits] == [True, False, False]


def test_match_and_embeddings_agree(client):
    score = client.post("/match", files=picture(png()), data={"text": "a disc"}).json()["score"]
    text = client.post("/embed_texts", json={"texts": ["a disc", "a square"]}).json()["vectors"]
    image = client.post("/embed_images", files=[("images", ("a", png())), ("images", ("b", png("blue")))]).json()
    assert len(text) == len(image["vectors"]) == 2
    assert score == pytest.approx(sum(a * b for a, b in zip(text[0], image["vectors"][0], strict=True)), abs=1e-5)


def test_tag_is_unknown_where_no_tag_reaches_the_threshold(client):
    known, unknown = (
        client.post("/tag", files=picture(png()), data={"precision": precision}).json() for precision in ("0.9", "0.99")
    )
    assert (known["unknown"], unknown["unknown"]) == (False, True)
    assert len(unknown["tags"]) == 5  # what it would have guessed


def test_match_returns_probability_and_evidence(client, predictor):
    named = client.post("/match", files=picture(png()), data={"text": "kx-red"}).json()
    tags = {tag.entity_id: tag for tag in predictor.tag(tiny_picture("red", 1), k=6)}
    assert named["probability"] == pytest.approx(tags[named["entity_id"]].confidence, abs=1e-6)
    assert "red disc" in named["explanation"]
    assert [tag["entity_id"] for tag in named["nearest"]] == list(tags)[:3]
    free = client.post("/match", files=picture(png()), data={"text": "a disc"}).json()
    assert (free["entity_id"], free["explanation"]) == (None, "")
    assert 0 < free["probability"] < 1


def test_feedback_needs_a_place_to_keep_it(client):
    judged = {"release": "v1.0.0", "verdict": "missing", "entity": "KX-9", "text": "kettle"}
    _refused(client.post("/feedback", json=judged), reason="set ENTITYCLIP_STATE to a folder")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"release": "latest"}, "pattern"),
        ({"verdict": "good"}, "'right', 'wrong' or 'missing'"),
        ({"entity_id": None}, "send either entity_id"),
        ({"entity": "KX-RED"}, "send either entity_id"),
        ({"entity_id": None, "entity": "KX-RED"}, "needs verdict 'missing'"),
        ({"text": None}, "text or the image of the query"),
    ],
)
def test_empty_feedback_is_refused(client, change, reason):
    judged = {"release": "v1.0.0", "verdict": "right", "entity_id": "e", "text": "kettle"} | change
    _refused(client.post("/feedback", json=judged), reason=reason)


def test_every_stage_of_a_request_is_timed(client):
    def counted(stage: str) -> float:
        return REGISTRY.get_sample_value("entityclip_stage_seconds_count", {"stage": stage}) or 0.0

    names = ("decode", "queue", "encode", "search")
    before = [counted(name) for name in names]
    assert client.post("/tag", files=picture(png())).status_code == 200
    # A picture waits twice: for a decoder, and for its batch.
    assert [counted(name) - was for name, was in zip(names, before, strict=True)] == [1, 2, 1, 1]


def test_without_a_state_folder_entities_cannot_be_changed(client):
    _refused(client.post("/entities", json={"entity": "KX-9"}), reason="cannot be changed here")
    _refused(client.post("/entities/remove", json={"entity_id": "x"}), reason="cannot be changed here")


def test_search_keeps_to_its_filter(client):
    query = {"text": "disc", "target": "entities"}
    assert len(client.post("/search", json=query | {"categories": ["kettle"]}).json()["hits"]) == 6
    assert client.post("/search", json=query | {"categories": ["pump"]}).json()["hits"] == []
    assert client.post("/search", data=query | {"languages": ["ja", "fr"]}).json()["hits"] == []
    _refused(client.post("/search", json=query | {"since": "yesterday"}), reason="since")


def test_about_names_release_rules_and_model(client, released):
    about = client.post("/about").json()
    assert about["release"] == released.release.model_dump()
    assert (about["suite_hash"], about["licences"]) == ("suite", ["MIT"])
    assert about["model"]["fingerprint"] == released.release.model_fingerprint
    assert about["model"]["pictures"] == 40


@pytest.mark.parametrize("code", ["0815", "4006381333931", "true", "1e5", "[x]"])
def test_product_code_in_a_form_stays_the_text_it_is(client, predictor, code):
    answer = client.post("/search", data={"text": code, "k": "1"}).json()
    assert answer["hits"][0]["score"] == pytest.approx(predictor.search(code, k=1)[0].score, abs=1e-6)


def test_text_as_bentomls_own_client_quotes_it(client):
    hits = client.post("/search", data={"text": json.dumps("KX-RED"), "target": "entities"}).json()["hits"]
    assert hits[0]["exact"]


@pytest.mark.parametrize("name", ["p.bin", "", "x" * 400 + ".png", "../../etc/passwd", "a\x00b"])
def test_picture_is_read_by_its_content_whatever_its_name(client, name):
    assert client.post("/tag", files=picture(png(), name or "p", "application/octet-stream")).status_code == 200


def test_openapi_describes_every_field(client):
    spec = client.get("/docs.json").json()
    assert {"/search", "/tag", "/match", "/embed_texts", "/embed_images", "/about"} <= spec["paths"].keys()
    fields = spec["components"]["schemas"]["SearchRequest"]["properties"]
    assert fields["k"]["maximum"] == requests.MOST_HITS
    assert fields["text"]["examples"]
    assert all(field["description"] for field in fields.values())
    assert spec["components"]["schemas"]["TagRequest"]["properties"]["image"]["items"]["format"] == "binary"


# ---------------------------------------------------------------- refusals
def _refused(response, *, status: int = 422, reason: str = "") -> None:
    assert response.status_code == status, response.text
    assert reason in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png()[:80], "broken or truncated PNG"),
        (b"hello, I am a text\n", "not a JPEG"),
        (b"", "empty file"),
        (b"%PDF-1.7 ...", "not a JPEG"),
    ],
)
def test_unusable_picture_is_refused_with_its_reason(client, content, reason):
    _refused(client.post("/tag", files=picture(content)), reason=reason)
    _refused(client.post("/search", files=picture(content)), reason=reason)
    _refused(client.post("/embed_images", files=[("images", ("a", png())), ("images", ("b", content))]), reason=reason)
    assert client.post("/tag", files=picture(png())).status_code == 200


def test_what_was_sent_is_neither_in_the_answer_nor_in_the_log(client, caplog):
    for sent in ({"json": {"text": "Erika Mustermann", "k": 0}}, {"files": picture(b"Erika Mustermann")}):
        answer = client.post("/search", **sent)
        assert answer.status_code == 422
        assert "Mustermann" not in answer.text + caplog.text
    assert "Traceback" not in caplog.text


def test_decompression_bomb_is_refused(client):
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + png()[24:29]
    bomb = png()[:12] + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]
    _refused(client.post("/tag", files=picture(bomb)), reason="pixels")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({}, "send text, image, or both"),
        ({"text": ""}, "at least 1 character"),
        ({"text": " \n\t"}, "at least 1 character"),
        ({"text": "a" * 1_000_000}, "at most 2000 characters"),
        ({"text": "x", "k": 0}, "greater than or equal to 1"),
        ({"text": "x", "k": 10**6}, "less than or equal to 100"),
        ({"text": "x", "k": "many"}, "valid integer"),
        ({"text": 815}, "valid string"),
        ({"text": "x", "index": "name"}, "'caption', 'explanation', 'images' or 'mixed'"),
        ({"text": "x", "top": 3}, "not permitted"),
        ({"image": "/etc/passwd"}, "not a JPEG"),
        ([1], "should be an object"),
    ],
)
def test_impossible_search_is_refused_with_its_reason(client, query, reason):
    _refused(client.post("/search", json=query), reason=reason)


@pytest.mark.parametrize(
    "body", [b"hello", b"[" * 100_000, b'{"text": "\xff"}', b'{"text": "\\ud800"}', b'{"k": ' + b"9" * 5000 + b"}"]
)
def test_broken_json_is_refused(client, body):
    _refused(client.post("/search", content=body, headers=JSON), status=400)


@pytest.mark.parametrize(
    ("body", "headers", "reason", "status"),
    [
        (b"garbage", FORM, "cannot be read", 400),
        (b"garbage", {"content-type": "multipart/form-data"}, "boundary", 400),
        (b'--xx\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc', FORM, "required", 422),
        (png(), {"content-type": "image/png"}, "send application/json or multipart/form-data", 415),
        (b'{"image": 5}', JSON, "valid bytes", 422),
        (b"image=http://127.0.0.1/x.png", URLENCODED, "-F image=@FILE", 422),
    ],
)
def test_broken_form_is_refused(client, body, headers, reason, status):
    _refused(client.post("/tag", content=body, headers=headers), reason=reason, status=status)


def test_fields_in_the_wrong_number_or_kind_are_refused(client):
    _refused(client.post("/tag", data={"k": ["1", "2"]}, files={"image": ("a", png())}), reason="2 times")
    many = [("image", ("a", png()))] * (requests.MOST_PICTURES + 1)
    _refused(client.post("/tag", files=many), reason="at most 16 items")
    _refused(client.post("/search", files={"text": ("a", b"\xff\xff")}), reason="is a file, expected text")
    _refused(client.post("/embed_texts", json={"texts": []}), reason="at least 1 item")
    _refused(client.post("/embed_texts", json={"texts": ["a"] * (requests.MOST_TEXTS + 1)}), reason="at most")
    _refused(client.post("/embed_texts", json={"texts": ["a", ""]}), reason="at least 1 character")


def _pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * 2**20


def test_huge_body_is_refused_even_when_its_length_is_not_announced(client):
    too_many = BODY_BYTES // 2**20 + 1
    _refused(client.post("/tag", content=_pieces(too_many), headers=FORM), status=413, reason="larger than")
    _refused(client.post("/search", content=b"x" * (BODY_BYTES + 1), headers=JSON), status=413)
    assert client.post("/search", json={"text": "x"}).status_code == 200
