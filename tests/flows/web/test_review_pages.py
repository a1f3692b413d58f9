"""The review pages by their forms alone: one item each, stored as the CSV way stores it, taken back, contradicted."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from reviewers import FROM_BROWSER, Person, PersonMaker, doubted_picture, make_key, quarantined_workspace
from starlette.testclient import TestClient
from tiny import tiny_picture
from typer.testing import CliRunner

from bentos.middleware import keys
from bentos.runtime.feedback import Spool
from entityclip.cli import app as program
from entityclip.data import pairs
from entityclip.monitoring.feedback import JudgedRow
from entityclip.paths import Layout
from entityclip.quality.review import merge, read_reviews
from entityclip.storage import read_table, write_table
from flows.web import texts
from flows.web.server import application
from flows.web.waiting import Waiting

EDITED = "A disc.\r\nNothing else."


def decisions(layout: Layout) -> dict[str, tuple[str, str]]:
    """Text of each decided explanation -> decision and reviewer."""
    return {review.text: (review.decision, review.reviewer) for review in read_reviews(layout.reviews)}


def test_both_languages_have_the_same_texts() -> None:
    english, japanese = texts.TEXTS["en"], texts.TEXTS["ja"]
    assert {name for name in japanese if not name.startswith("why_")} == set(english)
    for name, text in english.items():
        assert sorted(part.partition("}")[0] for part in text.split("{")[1:]) == sorted(
            part.partition("}")[0] for part in japanese[name].split("{")[1:]
        ), name


# ---------------------------------------------------------------- the same as by CSV
def by_csv(layout: Layout, answers: list[dict[str, str]], folder: Path) -> None:
    runner = CliRunner()
    given = ["review", "export", str(layout.quarantine("batch")), "--to", str(folder), "--workspace", str(layout.root)]
    assert runner.invoke(program, given).exit_code == 0
    path = folder / "review.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    by_id = {row["explanation_id"]: row for row in rows}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for answer in answers:
            row = by_id[answer["item"]] | {"decision": answer["decision"], "note": answer.get("note", "")}
            edited = answer["edited_text"].replace("\r\n", "\n") if answer["decision"] == "edit" else ""
            writer.writerow(row | {"minutes": "0.05", "edited_text": edited})
    given = ["review", "import", str(folder), "--reviewer", "Hanako", "--workspace", str(layout.root)]
    assert runner.invoke(program, given).exit_code == 0


def test_a_hundred_decisions_equal_those_by_csv(tmp_path: Path) -> None:
    by_page = quarantined_workspace(tmp_path / "page", texts=104, hostile=True)
    shutil.copytree(by_page.root, tmp_path / "csv")
    other = Layout(tmp_path / "csv")
    key = make_key(by_page, "Hanako")
    hanako = Person(application(by_page, by_page.service), key)
    answers = []
    for number in range(100):
        decision = ("accept", "reject", "edit")[number % 3]
        answer = {
            "item": hanako.item,
            "decision": decision,
            "edited_text": EDITED,
            "note": "=1+1" if number < 9 else "",
        }
        answers.append(answer)
        hanako.send(**answer)
    assert "4 waiting" in hanako.page
    by_csv(other, answers, tmp_path / "sheet")
    stored = [pd.read_csv(layout.reviews, keep_default_na=False) for layout in (by_page, other)]
    one, two = (frame.sort_values("explanation_id", ignore_index=True) for frame in stored)
    free = ["reviewer", "minutes", "day"]
    pd.testing.assert_frame_equal(one.drop(columns=free), two.drop(columns=free))
    assert len(one) == 100
    tables = []
    for layout in (by_page, other):
        merge(layout.staging, read_reviews(layout.reviews))
        tables.append(sorted(map(str, pairs.iter_rows(layout.staging.explanations))))
    assert tables[0] == tables[1]


# ---------------------------------------------------------------- one reviewer
def test_a_decision_is_stored_at_once_and_its_time_is_measured(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    assert "12 waiting" in ana.page
    assert "E-mail address" in ana.page
    assert "<mark>shop" in ana.page
    first = ana.item
    ana.look()
    assert ana.item == first  # the same after loading again
    time.sleep(0.05)
    assert "Dropped: 1." in ana.send(decision="reject", note=" not  a product ")
    (stored,) = read_reviews(layout.reviews)
    assert (stored.explanation_id, stored.decision, stored.note) == (first, "reject", "not a product")
    assert 0.05 <= 60 * stored.minutes < 60
    assert (stored.reviewer, stored.day) == ("Ana", datetime.now(UTC).date())
    assert ana.item not in ("", first)
    assert "11 waiting" in ana.page


def test_an_incomplete_decision_is_refused_and_nothing_is_stored(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    for wrong in ({"decision": "edit", "edited_text": "  "}, {"decision": "maybe"}, {"decision": ""}):
        assert "was not stored" in ana.send(**wrong)
    assert "no longer waits" in ana.send(item="unknown", decision="accept")
    assert decisions(layout) == {}
    assert "Kept: 1." in ana.send(decision="accept")


def test_undo_and_skip(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    first = ana.item
    ana.send("skip")
    second = ana.item
    assert second != first
    ana.send(decision="accept")
    assert len(decisions(layout)) == 1
    assert "Taken back: 1." in ana.send("undo")
    assert (ana.item, decisions(layout)) == (second, {})
    logged = [json.loads(line) for line in layout.audit.read_text().splitlines()]
    assert [(one["who"], one["action"], one["about"]) for one in logged] == [
        ("Ana", "decide", second),
        ("Ana", "undo", second),
    ]
    assert logged[0]["after"]["decision"] == logged[1]["before"]["decision"] == "accept"
    assert logged[0]["before"] is logged[1]["after"] is None
    assert layout.audit.stat().st_mode & 0o077 == 0
    assert "Taken back: 0." in ana.send("undo")
    for _ in range(11):
        assert ana.item != first
        ana.send(decision="accept")
    assert ana.item == first  # what was skipped comes last
    ana.send(decision="accept")
    assert "Nothing waits for a decision" in ana.page


def test_similar_cases_are_decided_at_once_and_undone_at_once(tmp_path: Path) -> None:
    layout = quarantined_workspace(tmp_path / "workspace", texts=100)
    key = make_key(layout, "Ana")
    ana = Person(application(layout, layout.service), key)
    while "Similar cases: 3" not in ana.page:
        ana.send("skip")
    item = ana.item
    page = ana.look(f"/ui/review/similar?item={item}")
    assert page.count('<div class="frame"><img src="/ui/review/picture?id=') == 3
    others = [part.partition('"')[0] for part in page.split('name="similar-')[1:]]
    assert len(others) == 2
    ana.send(item=item, decision="reject", **{f"similar-{others[0]}": "on"}, **{"similar-unknown": "on"})
    assert {r.explanation_id for r in read_reviews(layout.reviews)} == {item, others[0]}
    assert "Taken back: 2." in ana.send("undo")
    assert decisions(layout) == {}


# ---------------------------------------------------------------- several reviewers
def test_two_reviewers_do_not_get_the_same_item(layout: Layout, person: PersonMaker) -> None:
    ana, ben = person("Ana"), person("Ben")
    assert ana.item != ben.item
    assert "another reviewer has this item" in ben.send(item=ana.item, decision="reject")
    assert decisions(layout) == {}
    for one in (ana, ben) * 6:
        one.send(decision="accept")
    assert {reviewer for _, reviewer in decisions(layout).values()} == {"Ana", "Ben"}
    assert len(decisions(layout)) == 12
    assert "Nothing waits" in ana.look()


def test_a_contradicted_decision_goes_to_a_third_reviewer(layout: Layout, person: PersonMaker) -> None:
    ana, ben = person("Ana"), person("Ben")
    item = ana.item
    ana.send(decision="accept")
    assert "Ana decided on" in ben.look(f"/ui/review?item={item}")
    assert re.search(r'class="time">20\d\d-', ben.look("/ui/review/decided"))
    ben.look(f"/ui/review?item={item}")
    ben.send(decision="reject")
    stored = {r.explanation_id: r for r in read_reviews(layout.reviews)}
    assert stored[item].decision == "accept"  # it holds until a third has decided
    ana.look()
    assert item not in (ana.item, ben.item)
    cem = person("Cem")
    assert cem.item == item
    assert "The reviewers disagree" in cem.page
    assert "<bdi>Ben</bdi>: <b>dropped</b>" in cem.page
    cem.send(decision="reject")
    stored = {r.explanation_id: r for r in read_reviews(layout.reviews)}
    assert (stored[item].decision, stored[item].reviewer) == ("reject", "Ben, Cem")
    cem.send("undo")
    stored = {r.explanation_id: r for r in read_reviews(layout.reviews)}
    assert (stored[item].decision, stored[item].reviewer) == ("accept", "Ana")
    assert cem.item == item


def test_with_two_opinions_nothing_is_stored_before_two_agree(layout: Layout, person: PersonMaker) -> None:
    ana, ben = person("Ana", opinions=2), person("Ben", opinions=2)
    item = ana.item
    ana.send(decision="reject")
    assert decisions(layout) == {}
    ben.send("skip")  # the item that Ben got while Ana had the other one
    assert ben.item == item
    assert "A second opinion is needed" in ben.page
    ben.send(decision="reject")
    (stored,) = (r for r in read_reviews(layout.reviews))
    assert (stored.explanation_id, stored.decision, stored.reviewer) == (item, "reject", "Ana, Ben")


# ---------------------------------------------------------------- feedback
def test_feedback_that_waits_for_a_second_opinion_becomes_a_judgement(layout: Layout, person: PersonMaker) -> None:
    png = doubted_picture(layout)
    sha = hashlib.sha256(png).hexdigest()
    ana = person("Ana")
    assert "1 confirmed it and 1 denied it" in ana.page
    assert ana.client.get(f"/ui/review/picture?feedback={sha}").headers["content-type"] == "image/jpeg"
    assert ana.client.get("/ui/review/picture?feedback=../../x").status_code == 404
    assert "Stored: 1." in ana.send(decision="accept")
    ((_, judged),) = Spool(layout.service.feedback).read()
    assert (judged.verdict, judged.entity, judged.picture) == ("right", "KX-RED", png)
    assert "confirmed it" not in person("Ben").page
    ana.send("undo")
    assert list(Spool(layout.service.feedback).read()) == []
    assert "1 confirmed it and 1 denied it" in ana.page


def test_words_that_wait_for_a_second_opinion_become_a_judgement(layout: Layout, person: PersonMaker) -> None:
    layout.config.write_text("feedback: {keep_words: true}\n")
    about = {"entity_id": pairs.entity_id("KX-RED"), "entity": "KX-RED", "release": "v1.0.0", "picture": ""}
    hostile = "<script>alert(1)</script> Sunrise"
    row = JudgedRow(id="1", day=datetime.now(UTC).date(), key="k", verdict="missing", words=hostile, **about)
    layout.feedback.root.mkdir()
    write_table(layout.feedback.judged, pd.DataFrame([row.model_dump()]))
    ana = person("Ana")
    assert "Do these words mean this product?" in ana.page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Sunrise" in ana.page
    assert 'src="/ui/review/picture?id=' in ana.page  # photographs of the product
    assert "Stored: 1." in ana.send(decision="accept")
    ((_, judged),) = Spool(layout.service.feedback).read()
    assert (judged.verdict, judged.entity, judged.text, judged.picture) == ("right", "KX-RED", hostile, b"")
    assert "these words" not in person("Ben").page
    ana.send("undo")
    assert list(Spool(layout.service.feedback).read()) == []
    assert "Do these words mean this product?" in ana.page


# ---------------------------------------------------------------- safety and state
def test_a_quarantined_picture_is_shown_and_decided_as_texts_are(layout: Layout, person: PersonMaker) -> None:
    row = next(pairs.iter_rows(layout.staging.pairs))
    quarantine = layout.quarantine("batch")
    lines = read_table(quarantine)
    new = {"table": "pairs", "id": row["pair_id"], "rule": "picture_of_two_entities", "value": "KX-BLUE"}
    write_table(quarantine, pd.concat([lines[lines["id"] == "p"], pd.DataFrame([new])]).fillna(""))
    ana = person("Ana")
    assert ana.item == row["pair_id"]
    assert "Keep the picture" in ana.page
    assert 'name="edited_text"' not in ana.page
    address = re.search(r'src="(/ui/review/picture\?[^"]+)"', ana.page)
    assert address is not None
    assert row["pair_id"] in address[1]
    assert ana.client.get(address[1].replace("&amp;", "&")).headers["content-type"] == "image/jpeg"
    ana.send(decision="accept")
    (review,) = read_reviews(layout.reviews)
    assert (review.table, review.explanation_id, review.decision) == ("pairs", row["pair_id"], "accept")
    assert (review.rules, review.reviewer) == ("picture_of_two_entities", "Ana")
    assert "no_right</code> 1" in ana.page
    ana.send("undo")
    assert read_reviews(layout.reviews) == ()
    by_csv(layout, [{"item": row["pair_id"], "decision": "reject"}], layout.root / "sheet")
    assert [one.decision for one in read_reviews(layout.reviews)] == ["reject"]


def test_pages_are_closed_without_a_key_with_the_right(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    viewer = keys.make(layout.service.keys, name="viewer", scopes=("query",))
    app = application(layout, layout.service)
    stranger = TestClient(app, follow_redirects=False, **FROM_BROWSER)
    for path in ("/ui/review", "/ui/review/decided", "/ui/review/picture?id=x", "/ui/"):
        assert stranger.get(path).headers["location"].startswith("/ui/sign-in"), path
    assert stranger.post("/ui/sign-in", data={"key": viewer}).status_code == 303
    assert stranger.get("/ui/review").status_code == 403
    fields = {"item": ana.item, "decision": "accept"}
    for token in ("", "x"):
        assert ana.client.post("/ui/review/decide", data=fields | {"token": token}).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert ana.client.post("/ui/review/decide", data=fields | {"token": ana.token}, headers=foreign).status_code == 403
    assert decisions(layout) == {}
    answer = ana.client.get("/ui/review")
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' blob:;")
    assert answer.headers["cache-control"] == "no-store"


def test_a_keyless_server_answers_this_machine_alone(layout: Layout) -> None:
    app = application(layout, layout.service, keyless=True)
    here = TestClient(app, **FROM_BROWSER)
    assert "12 waiting" in here.get("/ui/review").text
    there = TestClient(app, base_url="http://localhost", client=("192.0.2.1", 50000))
    assert there.get("/ui/review").status_code == 401


def test_without_a_batch_and_with_a_batch_in_work_the_page_says_so(tmp_path: Path) -> None:
    empty = Layout(tmp_path / "empty")
    page = TestClient(application(empty, empty.service, keyless=True), **FROM_BROWSER).get("/ui/review").text
    assert "Nothing waits for a decision" in page
    layout = quarantined_workspace(tmp_path / "workspace", texts=3)
    shutil.rmtree(layout.staging.explanations)
    answer = TestClient(application(layout, layout.service, keyless=True), **FROM_BROWSER).get("/ui/review")
    assert (answer.status_code, "If a run is at work" in answer.text) == (503, True)


def test_the_picture_of_an_entity_is_shown_small(layout: Layout, person: PersonMaker) -> None:
    shown = Waiting(layout).texts.pictures
    red = shown.of[pairs.entity_id("KX-RED")]
    assert len(red) == 3
    rows = {row["pair_id"]: row["image"]["bytes"] for row in pairs.iter_rows(layout.staging.pairs)}
    assert all(shown.read(pair_id) == rows[pair_id] for pair_id in red)
    assert shown.read("unknown") is None
    answer = person("Ana").client.get("/ui/review/picture", params={"id": red[0]})
    assert answer.content[:2] == b"\xff\xd8"
    assert tiny_picture("red", 0).size == (40, 36)
