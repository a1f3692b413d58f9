"""Sessions of the pages: only a valid key opens one, it ends, and no other page can use it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from callers import bearer
from hostile_site import Site, png

from bentos.middleware import keys, sessions
from bentos.middleware.sessions import COOKIE, Sessions
from entityclip.errors import ConfigError
from entityclip.paths import StateLayout


# ---------------------------------------------------------------- cookies alone
def test_a_session_is_read_by_every_worker_and_by_no_other_service(tmp_path):
    one, other = Sessions(tmp_path / "a"), Sessions(tmp_path / "b")
    cookie = one.issue("0a1b2c3d")
    read = Sessions(tmp_path / "a").read(cookie)
    assert read is not None
    assert (read.key_id, len(read.token) >= 20) == ("0a1b2c3d", True)
    assert other.read(cookie) is None
    assert one.issue("0a1b2c3d") != cookie
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("wrong", ["", "x", "a.b.c", "é", "{}x", "x{}"])
def test_a_changed_cookie_is_no_session(tmp_path, wrong):
    ours = Sessions(tmp_path / "a")
    assert ours.read(wrong.format(ours.issue("0a1b2c3d"))) is None


def test_a_session_ends_after_its_time(tmp_path, monkeypatch):
    ours = Sessions(tmp_path / "a")
    cookie = ours.issue("0a1b2c3d")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + sessions.SECONDS - 60)
    assert ours.read(cookie) is not None
    monkeypatch.setattr(time, "time", lambda: now + sessions.SECONDS + 60)
    assert ours.read(cookie) is None


def test_a_secret_that_cannot_be_used_names_the_file(tmp_path):
    (tmp_path / "a").write_text("short")
    with pytest.raises(ConfigError, match="too short; delete the file"):
        Sessions(tmp_path / "a")


# ---------------------------------------------------------------- the service
pytestmark = pytest.mark.slow


@pytest.fixture
def browser(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def signed_in(browser: httpx.Client, key: str) -> str:
    """Sign in; returns the token of the session's forms."""
    answer = browser.post("/ui/sign-in", data={"key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    return re.search(r'name="token" value="([^"]+)"', browser.get("/ui/").text)[1]


def test_without_a_session_every_page_leads_to_sign_in(browser, site):
    answer = browser.get("/ui/product?id=x&q=a%20b")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/ui/sign-in?next=%2Fui%2Fproduct%3Fid%3Dx%26q%3Da%2520b"
    assert browser.post("/ui/search", data={"q": "x"}).headers["location"] == "/ui/sign-in"
    part = browser.post("/ui/search", data={"q": "x"}, headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/ui/sign-in")
    assert browser.get("/ui/", headers=bearer(site.key)).status_code == 303  # programs use the API


def test_sign_in_leads_back_and_the_cookie_is_closed(browser, site):
    answer = browser.post("/ui/sign-in?next=/ui/?q=disc", data={"key": f" {site.key} "})
    assert answer.headers["location"] == "/ui/?q=disc"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/ui", f"Max-Age={sessions.SECONDS}"):
        assert part in cookie
    assert "Secure" not in cookie
    assert site.key.rpartition("_")[2] not in cookie
    behind = browser.post("/ui/sign-in", data={"key": site.key}, headers={"x-forwarded-proto": "https"})
    assert "Secure" in behind.headers["set-cookie"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/ui\\evil", "/metrics", "/ui/\r\nX: y", ""]
)
def test_sign_in_leads_to_no_other_place(browser, site, target):
    answer = browser.post("/ui/sign-in", params={"next": target}, data={"key": site.key})
    assert answer.headers["location"] == "/ui/"


def test_only_a_key_that_may_search_opens_a_session(browser, site):
    metrics = keys.make(site.state.keys, name="scraper", scopes=("metrics",))
    time.sleep(keys.LOOK_SECONDS + 0.2)
    for wrong in ("", "x", site.key[:-1], metrics, "ec_00000000_" + site.key.rpartition("_")[2]):
        answer = browser.post("/ui/sign-in", data={"key": wrong})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert "not valid" in answer.text
    foreign = browser.post("/ui/sign-in", data={"key": site.key}, headers={"origin": "https://evil.example"})
    assert (foreign.status_code, "set-cookie" in foreign.headers) == (403, False)
    large = browser.post("/ui/sign-in", data={"key": "x" * 10_000})
    assert large.status_code == 413


def test_a_session_opens_the_pages_alone(browser, site):
    signed_in(browser, site.key)
    assert browser.get("/ui/").status_code == 200
    assert browser.post("/search", json={"text": "disc"}).status_code == 401


def test_a_form_needs_the_token_of_its_session(browser, site):
    token = signed_in(browser, site.key)
    with httpx.Client(base_url=site.url) as other:
        stolen = signed_in(other, site.key)
    judged = {"release": "v2.0.0", "verdict": "missing", "entity": "ZZ-2", "text": "kettle"}
    for wrong in ({}, {"token": ""}, {"token": "x"}, {"token": stolen}):
        for path in ("/ui/feedback", "/ui/search", "/ui/sign-out"):
            assert browser.post(path, data=judged | wrong).status_code == 403, (path, wrong)
    foreign = browser.post("/ui/feedback", data=judged | {"token": token}, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    own = {"origin": site.url}
    assert browser.post("/ui/feedback", data=judged | {"token": token}, headers=own).status_code == 200


def test_a_session_ends_with_its_key_and_by_sign_out(browser, site):
    key = keys.make(site.state.keys, name="guest")
    time.sleep(keys.LOOK_SECONDS + 0.2)
    token = signed_in(browser, key)
    assert "Your key does not have the scope" in browser.get("/ui/?q=disc").text
    refused = browser.post("/ui/feedback", data={"token": token, "verdict": "right"})
    assert (refused.status_code, "This is not allowed" in refused.text) == (403, True)
    keys.revoke(site.state.keys, key.split("_")[1])
    time.sleep(keys.LOOK_SECONDS + 0.2)
    assert browser.get("/ui/").status_code == 303
    token = signed_in(browser, site.key)
    assert browser.post("/ui/sign-out", data={"token": token}).headers["location"] == "/ui/sign-in"
    assert browser.get("/ui/").status_code == 303


def test_every_page_has_the_headers_that_keep_it_safe(browser, site):
    token = signed_in(browser, site.key)
    pages = ["/ui/", "/ui/?q=disc", "/ui/product?id=nothing", "/ui/nowhere", "/ui/sign-in", "/ui/static/pages.css"]
    answers = [browser.get(path) for path in pages]
    answers.append(browser.post("/ui/search", data={"token": token}, files={"image": ("p.png", png())}))
    answers.append(browser.post("/ui/search", content=b"x", headers={"content-type": "multipart/form-data"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob:;"), answer.url
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "bentoml" not in answer.text.lower()
    assert [answer.status_code for answer in answers[:4]] == [200, 200, 404, 404]


def test_the_secret_of_sessions_is_its_owners_alone(site):
    assert StateLayout(site.state.root).sessions.stat().st_mode & 0o077 == 0
