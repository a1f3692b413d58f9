"""The edge alone, around a service of a few lines: who gets in, how often, with how much, and what comes back."""

import asyncio
import threading
from pathlib import Path

import pytest
from callers import FROM_HERE, bearer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from bentos import settings
from bentos.middleware import keys
from bentos.middleware.auth import Guard
from bentos.middleware.body import BodyLimit
from bentos.middleware.errors import ErrorFormat
from entityclip.errors import ConfigError
from entityclip.paths import StateLayout


async def _echo(request):
    return PlainTextResponse(str(len(await request.body())))


async def _slow(request):
    await asyncio.sleep(0.5)
    return PlainTextResponse("done")


async def _fail(request):
    raise RuntimeError("secret of the program")


async def _list_of_errors(request):
    return JSONResponse([{"error": "as BentoML says it"}], status_code=422)


def service(
    state: Path | None, *, max_concurrency: int = 64, workers: int = 1, keyless: bool = True, **body
) -> TestClient:
    paths = ("/search", "/livez", "/metrics", "/entities", "/feedback")
    app = Starlette(
        routes=[Route(path, _echo, methods=["POST", "GET"]) for path in paths]
        + [Route("/slow", _slow), Route("/fail", _fail), Route("/list", _list_of_errors)],
        middleware=[
            Middleware(ErrorFormat),
            Middleware(
                Guard,
                state=state and StateLayout(state),
                keyless=keyless,
                max_concurrency=max_concurrency,
                workers=workers,
            ),
            Middleware(BodyLimit, **body),
        ],
    )
    return TestClient(app, **FROM_HERE)


def make(state: Path, **given) -> str:
    return keys.make(StateLayout(state).keys, name="shop", **given)


# ---------------------------------------------------------------- keys
def test_secret_is_not_in_the_file_and_the_file_is_its_owners_alone(tmp_path):
    key = make(tmp_path)
    file = StateLayout(tmp_path).keys
    assert key.rpartition("_")[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_only_a_valid_key_gets_in(tmp_path):
    key, client = make(tmp_path), service(tmp_path)
    assert client.post("/search", headers=bearer(key)).status_code == 200
    other = "ec_00000000_" + key.rpartition("_")[2]
    for wrong in (key[:-1], key + "x", other, key.removeprefix("ec"), "", "ec__", "ec_\xe9_\xfc"):
        refused = client.post("/search", headers={b"authorization": f"Bearer {wrong}".encode("latin-1")})
        assert refused.status_code == 401, wrong
        assert refused.headers["www-authenticate"] == "Bearer"
    assert client.post("/search").status_code == 401
    assert client.get("/livez").status_code == 200


def test_a_service_with_a_state_folder_and_no_key_refuses_every_request(tmp_path):
    assert service(tmp_path).post("/search").status_code == 401


@pytest.mark.parametrize("scope", ["metrics", "entities", "feedback"])
def test_key_without_the_scope_is_refused(tmp_path, scope):
    without, having = make(tmp_path), make(tmp_path, scopes=(scope,))
    client = service(tmp_path)
    refused = client.get(f"/{scope}", headers=bearer(without))
    assert (refused.status_code, refused.json()) == (
        403,
        {"error": f"this key has no scope {scope!r}; use a key with that scope"},
    )
    assert client.get(f"/{scope}", headers=bearer(having)).status_code == 200
    assert client.get("/slow", headers=bearer(having)).status_code == 403


def test_keys_are_made_and_revoked_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    first, client = make(tmp_path), service(tmp_path)
    second = make(tmp_path)
    assert client.post("/search", headers=bearer(second)).status_code == 200
    keys.revoke(StateLayout(tmp_path).keys, first.split("_")[1])
    assert client.post("/search", headers=bearer(first)).status_code == 401
    assert client.post("/search", headers=bearer(second)).status_code == 200


def test_broken_file_of_keys_stops_a_start_and_changes_nothing_later(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    key, client = make(tmp_path), service(tmp_path)
    assert client.post("/search", headers=bearer(key)).status_code == 200
    StateLayout(tmp_path).keys.write_text("{half")
    assert client.post("/search", headers=bearer(key)).status_code == 200
    with pytest.raises(ConfigError, match="not a keys file"):
        keys.KeyFile(StateLayout(tmp_path).keys)
    StateLayout(tmp_path).keys.unlink()
    assert client.post("/search", headers=bearer(key)).status_code == 401


def test_old_scope_in_a_keys_file_gives_an_error_that_names_the_new_one(tmp_path):
    make(tmp_path)
    file = StateLayout(tmp_path).keys
    file.write_text(file.read_text().replace('"query"', '"ask"'))
    with pytest.raises(ConfigError, match="scope 'ask' is now 'query'"):
        keys.KeyFile(file)


def test_old_field_in_a_keys_file_gives_an_error_that_names_the_new_one(tmp_path):
    make(tmp_path)
    file = StateLayout(tmp_path).keys
    file.write_text(file.read_text().replace('"max_concurrency"', '"at_once"'))
    with pytest.raises(ConfigError, match="'at_once' is now 'max_concurrency'"):
        keys.KeyFile(file)


def test_expired_key_is_refused(tmp_path):
    key = make(tmp_path, days=-1)
    assert service(tmp_path).post("/search", headers=bearer(key)).status_code == 401


def test_keys_made_at_the_same_time_are_all_kept(tmp_path):
    threads = [threading.Thread(target=make, args=(tmp_path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.id for key in keys.read(StateLayout(tmp_path).keys)}) == 8


# ---------------------------------------------------------------- without keys
@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({}, "192.168.0.7"),
        ({"host": "evil.example"}, "127.0.0.1"),
        ({"origin": "http://evil.example"}, "127.0.0.1"),
        ({"x-forwarded-for": "10.0.0.1"}, "127.0.0.1"),
        ({"via": "1.1 proxy"}, "127.0.0.1"),
        ({"x-forwarded-proto": "https"}, "127.0.0.1"),
        ({"host": "["}, "127.0.0.1"),
    ],
)
def test_without_keys_remote_requests_are_refused(headers, client):
    app = service(None).app
    outside = TestClient(app, **FROM_HERE | {"client": (client, 50000)})
    refused = outside.post("/search", headers=headers)
    assert refused.status_code == 401
    assert "make a key" in refused.json()["error"]
    assert TestClient(app, **FROM_HERE).post("/search").status_code == 200


def test_local_proxy_that_sets_no_header_does_not_pass_for_its_own_machine():
    proxied = {"connection": "close"}  # all that nginx adds by itself; Host becomes the address that it passes on to
    refused = service(None, keyless=False).post("/search", headers=proxied)
    assert refused.status_code == 401
    assert "ENTITYCLIP_KEYLESS=local" in refused.json()["error"]
    assert service(None, keyless=False).get("/livez").status_code == 200


def test_a_state_folder_requires_keys_whatever_else_is_set(tmp_path):
    assert service(tmp_path, keyless=True).post("/search").status_code == 401


def test_callers_without_a_key_are_let_in_by_one_word_alone(monkeypatch):
    monkeypatch.delenv("ENTITYCLIP_KEYLESS", raising=False)
    assert not settings.keyless()
    monkeypatch.setenv("ENTITYCLIP_KEYLESS", "local")
    assert settings.keyless()
    for other in ("1", "true", "ローカル"):
        monkeypatch.setenv("ENTITYCLIP_KEYLESS", other)
        with pytest.raises(ConfigError, match=f"ENTITYCLIP_KEYLESS is '{other}'; expected 'local'"):
            settings.keyless()


# ---------------------------------------------------------------- limits
def test_key_over_its_rate_gets_retry_after(tmp_path):
    key = make(tmp_path, per_minute=30)
    client = service(tmp_path)
    answers = [client.post("/search", headers=bearer(key)) for _ in range(6)]
    assert [a.status_code for a in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
    shared = service(tmp_path, workers=5)
    assert [shared.post("/search", headers=bearer(key)).status_code for _ in range(2)] == [200, 429]


def _statuses_at_once(client: TestClient, key: str, count: int) -> list[int]:
    answers: list[int] = []
    ask = lambda: answers.append(client.get("/slow", headers=bearer(key)).status_code)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def test_more_requests_at_once_than_a_key_may_have_are_refused(tmp_path):
    key = make(tmp_path, max_concurrency=2)
    with service(tmp_path) as client:
        assert _statuses_at_once(client, key, 5) == [200, 200, 429, 429, 429]
        assert _statuses_at_once(client, key, 2) == [200, 200]


def test_full_service_answers_503(tmp_path):
    key = make(tmp_path)
    with service(tmp_path, max_concurrency=3) as client:
        assert _statuses_at_once(client, key, 4) == [200, 200, 200, 503]


# ---------------------------------------------------------------- bodies
def _pieces(count: int, size: int = 1000):
    for _ in range(count):
        yield b"x" * size


def test_body_is_counted_as_it_comes(tmp_path):
    client = service(None, limit=5000)
    assert client.post("/search", content=_pieces(5)).text == "5000"
    refused = client.post("/search", content=_pieces(6))
    assert (refused.status_code, refused.json()) == (413, {"error": "the request is larger than 5000 bytes"})
    assert client.post("/search", content=_pieces(5)).status_code == 200


def test_body_that_trickles_in_is_given_up():
    limit = BodyLimit(None, seconds=0.05)  # type: ignore[arg-type]
    sent = []

    async def receive():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    asyncio.run(limit({"type": "http", "path": "/search"}, receive, send))
    assert sent[0]["status"] == 408
    assert limit.held == 0


def test_many_large_bodies_at_once_do_not_fill_the_memory():
    client = service(None, limit=5000, held=3000)
    refused = client.post("/search", content=_pieces(4))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert client.post("/search", content=_pieces(3)).status_code == 200


# ---------------------------------------------------------------- errors
def test_failure_reveals_nothing_about_the_program():
    failed = service(None).get("/fail")
    assert failed.status_code == 500
    assert failed.json() == {"error": "internal error; the service's log has the details"}


@pytest.mark.parametrize(("path", "error"), [("/list", "as BentoML says it"), ("/nowhere", "Not Found")])
def test_every_refusal_has_one_form(path, error):
    assert service(None).get(path).json() == {"error": error}
