"""A person whom a proxy names gets the key of that name, if the connection is the proxy's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from bentos.middleware import keys
from bentos.middleware.auth import Guard
from bentos.middleware.sessions import VISITOR
from bentos.middleware.sign_on import HEADER, NO_ONE, PROXIES, from_environment
from entityclip.errors import ConfigError
from entityclip.paths import StateLayout

PROXY, NAME = "10.1.0.7", {"X-Remote-User": "ana@example.com"}


async def visitor(request: Request) -> PlainTextResponse:
    seen = request.scope[VISITOR]
    return PlainTextResponse(f"{seen.key.name} {seen.token}")


@pytest.fixture
def sso(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")  # the sign-on changes it; this restores it
    monkeypatch.setenv(HEADER, "X-Remote-User")
    monkeypatch.setenv(PROXIES, "10.0.0.5, 10.1.0.0/24")


def pages(folder: Path, *, peer: str = PROXY, **scopes: tuple[keys.Scope, ...]) -> TestClient:
    """Pages with one key for each name, as seen from this address."""
    state = StateLayout(folder / "state")
    for name, held in scopes.items():
        keys.make(state.keys, name=f"{name}@example.com", scopes=held)
    app = Starlette(routes=[Route(path, visitor) for path in ("/ui/", "/ui/products/edit", "/search")])
    guarded = Guard(app, state=state, max_concurrency=4)
    return TestClient(guarded, client=(peer, 50000), base_url="http://service.example")


@pytest.mark.usefixtures("sso")
def test_person_has_the_scopes_of_the_key_with_their_name_and_a_token_for_forms(tmp_path: Path) -> None:
    client = pages(tmp_path, ana=("query",), ben=("query",))
    name, token = client.get("/ui/", headers=NAME).text.split()
    assert name == "ana@example.com"
    assert len(token) > 20
    assert client.get("/ui/", headers=NAME).text.split()[1] == token
    assert client.get("/ui/", headers={"X-Remote-User": "ben@example.com"}).text.split()[1] != token
    assert client.get("/ui/products/edit", headers=NAME).status_code == 403  # no scope entities
    assert client.get("/ui/", headers=NAME | {"Origin": "https://evil.example"}).status_code == 403
    assert os.environ["FORWARDED_ALLOW_IPS"] == NO_ONE


@pytest.mark.usefixtures("sso")
@pytest.mark.parametrize("peer", ["10.2.0.7", "127.0.0.1", "::1", "testclient", ""])
def test_header_from_any_other_address_is_ignored(tmp_path: Path, peer: str) -> None:
    client = pages(tmp_path, peer=peer, ana=("query",))
    assert client.get("/ui/", headers=NAME | {"X-Forwarded-For": PROXY}).status_code == 401


@pytest.mark.usefixtures("sso")
def test_ipv4_address_in_ipv6_form_is_the_same_proxy(tmp_path: Path) -> None:
    assert pages(tmp_path, peer=f"::ffff:{PROXY}", ana=("query",)).get("/ui/", headers=NAME).status_code == 200


@pytest.mark.usefixtures("sso")
def test_unknown_and_ambiguous_names_two_headers_and_programs_are_refused(tmp_path: Path) -> None:
    client = pages(tmp_path, ana=("query",))
    assert client.get("/ui/", headers={"X-Remote-User": "eve@example.com"}).status_code == 403
    assert client.get("/ui/", headers={"X-Remote-User": " "}).status_code == 401
    twice = [("X-Remote-User", "ana@example.com"), ("X-Remote-User", "eve@example.com")]
    assert client.get("/ui/", headers=twice).status_code == 401
    assert client.get("/search", headers=NAME).status_code == 401
    known = keys.read(StateLayout(tmp_path / "state").keys)
    keys.revoke(StateLayout(tmp_path / "state").keys, known[0].id)
    assert pages(tmp_path).get("/ui/", headers=NAME).status_code == 403
    keys.make(StateLayout(tmp_path / "state").keys, name="ana@example.com")
    assert pages(tmp_path).get("/ui/", headers=NAME).status_code == 200
    keys.make(StateLayout(tmp_path / "state").keys, name="ana@example.com")
    assert pages(tmp_path).get("/ui/", headers=NAME).status_code == 403


def test_without_the_settings_the_header_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (HEADER, PROXIES):
        monkeypatch.delenv(name, raising=False)
    assert from_environment() is None
    assert pages(tmp_path, ana=("query",)).get("/ui/", headers=NAME).status_code == 401


@pytest.mark.usefixtures("sso")
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (HEADER, "", "set both"),
        (PROXIES, "", "set both"),
        (HEADER, "X_User", "expected the name of a header"),
        (HEADER, "Cookie", "expected the name of a header"),
        (PROXIES, "10.0.0.5,proxy", "expected addresses or networks"),
        (PROXIES, "0.0.0.0/0", "every address"),
    ],
)
def test_settings_that_cannot_be_used_name_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"ENTITYCLIP_SSO_.*{reason}|{reason}.*ENTITYCLIP_SSO_"):
        from_environment()
