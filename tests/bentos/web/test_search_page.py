"""The pages in this process, on a service without keys: languages, filters, refusals, the page of a product."""

from __future__ import annotations

import re
from string import Formatter
from typing import get_args

import pandas as pd
import pytest
from hostile_site import png
from starlette.testclient import TestClient

from bentos import settings
from bentos.web.language import NAMES, SCRIPTS, is_foreign_to, language_name, preferred
from bentos.web.render import percent
from bentos.web.texts import EN, JA
from entityclip.data import pairs
from entityclip.quality.language import KNOWN
from entityclip.retrieval.label_vocabulary import COLUMNS, LabelVocabulary
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Evidence

JAPANESE = {"accept-language": "ja"}


# ---------------------------------------------------------------- texts
def test_both_languages_have_the_same_texts_with_the_same_placeholders():
    def placeholders(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    assert EN.keys() == JA.keys()
    assert {name for name in EN if placeholders(EN[name]) != placeholders(JA[name])} == set()


def test_every_kind_of_evidence_has_a_name():
    kinds = get_args(Evidence.model_fields["by"].annotation)
    assert {f"by_{kind.replace(' ', '_')}" for kind in kinds} <= EN.keys()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-GB,en;q=0.9,ja;q=0.8", "en"),
        ("fr, ja;q=0.5", "ja"),
        ("fr", "en"),
        ("ja;q=0", "en"),
        ("ja;q=x,en;q=0.1", "en"),
        ("*;q=0.5,;,,=", "en"),
    ],
)
def test_the_browsers_preference_chooses_the_language(header, language):
    assert preferred(header) == language


def test_every_language_that_the_gate_detects_has_a_name():
    assert NAMES.keys() == KNOWN
    assert SCRIPTS.keys() <= KNOWN
    assert (language_name("en", "ja"), language_name("xx-YY", "en")) == ("英語", "xx-YY")
    assert (language_name("zh-Hant", "en"), language_name("pt-BR", "ja")) == ("Chinese (Hant)", "ポルトガル語（BR）")


@pytest.mark.parametrize(
    ("words", "languages", "foreign"),
    [
        ("赤い やかん", ["en"], True),
        ("やかん kettle", ["en"], True),
        ("やかん", ["en", "ja"], False),
        ("red kettle", ["ja"], True),
        ("LED ランプ", ["ja"], False),
        ("rouge", ["en"], False),
        ("чайник", ["de"], True),
        ("12-34", ["ja"], False),
        ("やかん", ["xx", "en"], False),
        ("やかん", [], False),
    ],
)
def test_words_that_no_text_is_written_in_are_noticed(words, languages, foreign):
    assert is_foreign_to(words, languages) is foreign


def test_a_search_in_another_language_than_the_texts_says_so(client: TestClient):
    page = client.get("/ui/", params={"q": "赤い円"}, headers=JAPANESE).text
    assert "このリリースの説明文は英語です。英語でお試しください。" in page
    assert "The texts of this release are in English." in client.get("/ui/", params={"q": "赤い円"}).text
    assert "The texts of this release" not in client.get("/ui/", params={"q": "a red disc"}).text
    assert "The texts of this release" not in client.get("/ui/", params={"q": "KX-GREEN 円"}).text


def test_a_share_never_claims_certainty():
    assert [percent(share) for share in (0.0, 0.004, 0.5, 0.994, 1.0)] == ["< 1 %", "< 1 %", "50 %", "> 99 %", "> 99 %"]


# ---------------------------------------------------------------- search
def names(html: str) -> list[str]:
    return re.findall(r"<h3><a [^>]*><bdi>([^<]*)</bdi>", html)


def test_an_exact_code_comes_first_with_its_reason(client: TestClient):
    page = client.get("/ui/", params={"q": "kx-green"}).text
    assert names(page)[0] == "KX-GREEN"
    assert "Exact match" in page
    assert 'lang="en"' in page
    assert "Exact match" not in client.get("/ui/", params={"q": "kx-green"}, headers=JAPANESE).text


def test_the_empty_page_shows_some_of_the_catalogue(client: TestClient):
    page = client.get("/ui/").text
    assert "From the catalogue" in page
    assert len(names(page)) == 6


def test_the_service_links_to_the_review_pages(client: TestClient, monkeypatch):
    assert "/ui/review" not in client.get("/ui/").text
    monkeypatch.setattr(settings, "REVIEW_URL", "https://review.example")
    assert '<a href="https://review.example/ui/review">Review</a>' in client.get("/ui/").text


def test_a_form_with_words_alone_leads_to_an_address(client: TestClient):
    sent = {"q": " a disc ", "category": "kettle", "since": ""}
    answer = client.post("/ui/search", data=sent, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/?q=a+disc&category=kettle")


def test_a_part_is_sent_to_the_script_of_the_page(client: TestClient):
    part = client.post("/ui/search", data={"q": "disc"}, headers={"hx-request": "true"})
    assert "<html" not in part.text
    assert part.headers["hx-push-url"] == "/ui/?q=disc"
    nothing = client.post("/ui/search", data={"q": " "}, headers={"hx-request": "true"})
    assert "Type words, choose a photograph" in nothing.text


def test_filters_are_kept_to_and_shown(client: TestClient):
    assert len(names(client.get("/ui/?q=disc&category=kettle").text)) == 6
    none = client.get("/ui/?q=disc&category=pump").text
    assert "No product was found" in none
    assert '<details class="filters" open>' in none
    wrong = client.get("/ui/?q=disc&since=yesterday")
    assert (wrong.status_code, "since" in wrong.text) == (422, True)


def test_a_photograph_is_known_or_unknown(client: TestClient):
    page = client.post("/ui/search", files={"image": ("p.png", png(), "image/png")}).text
    assert "Nearest photograph" in page
    assert len(re.findall(r"<meter ", page)) == 6
    assert "This service stores no feedback" in page


@pytest.mark.parametrize("content", [b"hello", png()[:80]])
def test_an_unusable_photograph_is_refused_with_a_sentence(client: TestClient, content):
    page = client.post("/ui/search", files={"image": ("p.png", content)}, headers=JAPANESE)
    assert page.status_code == 422
    assert "この内容では検索できません" in page.text
    assert "the picture cannot be used" in page.text
    assert page.headers["content-type"].startswith("text/html")


def test_an_empty_file_field_counts_as_no_photograph(client: TestClient):
    answer = client.post("/ui/search", data={"q": "disc"}, files={"image": ("", b"")}, follow_redirects=False)
    assert answer.status_code == 303


# ---------------------------------------------------------------- a product
def test_a_product_has_a_page_with_photographs_explanation_and_evidence(client: TestClient):
    link = re.search(r'<h3><a href="([^"]+)"', client.get("/ui/?q=KX-GREEN").text)[1].replace("&amp;", "&")
    page = client.get(link).text
    assert "like a green disc" in page
    assert "4 of 7 photographs" in page
    assert "Why it was found for" in page
    pictures = [path.replace("&amp;", "&") for path in re.findall(r'<img src="(/ui/picture[^"]+)"', page)]
    assert len(pictures) == 4
    for path in pictures:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content.startswith(b"\xff\xd8")
    assert client.get(pictures[0].replace("id=", "id=x")).status_code == 404


def test_a_product_that_is_not_there(client: TestClient):
    answer = client.get("/ui/product?id=missing")
    assert (answer.status_code, "no such product" in answer.text) == (404, True)


# ---------------------------------------------------------------- the edge
def test_pages_are_closed_to_other_machines_and_to_other_pages(client: TestClient):
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"x-forwarded-for": "10.0.0.1"}):
        refused = client.get("/ui/", headers=headers)
        assert refused.status_code == 401
        assert "make a key" in refused.text
        assert refused.headers["content-type"].startswith("text/html")


def test_an_unknown_address_is_a_page_and_counts_as_one_endpoint(client: TestClient):
    missing = client.get("/ui/nowhere", headers=JAPANESE)
    assert (missing.status_code, "このアドレスにページはありません" in missing.text) == (404, True)
    assert client.get("/ui", follow_redirects=False).status_code in (307, 308)
    assert client.post("/nowhere").json() == {"error": "Not Found"}


def test_a_product_shows_the_words_on_its_labels_as_text(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    address = f"/ui/product?id={pairs.entity_id('KX-GREEN')}"
    assert "Words on its labels" not in client.get(address).text
    words = pd.DataFrame(
        [(pairs.entity_id("KX-GREEN"), "kettle", "p", word) for word in ("<b>peruna", "arla")], columns=list(COLUMNS)
    )
    vocabulary = LabelVocabulary(words, 0.5)
    monkeypatch.setattr(Predictor, "vocabulary", property(lambda _: vocabulary), raising=False)
    page = client.get(address).text
    assert "Words on its labels" in page
    assert "<bdi>&lt;b&gt;peruna</bdi>" in page
    assert "写真から読み取った文字" in client.get(address, headers=JAPANESE).text
