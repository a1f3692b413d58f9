"""The releases page: what was in service, decisions with reasons, and the answer that ``entityclip approve`` gives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from reviewers import FROM_BROWSER, Person, make_key
from starlette.testclient import TestClient

from bentos.middleware import keys
from bentos.runtime.canary_record import CanaryRecord, CanaryReport
from entityclip.paths import Layout
from entityclip.schemas import Approval
from flows.web import releases
from flows.web.releases import ReleaseHistory
from flows.web.server import application
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import assign_champion
from flows.workspace.repository import Repository


def test_a_release_is_declined_once_by_a_person_with_the_right(undecided: Layout) -> None:
    reviewer = keys.make(undecided.service.keys, name="Ben", scopes=("query", "review"))
    ana = make_key(undecided, "Ana")
    app = application(undecided, undecided.service)
    ben = Person(app, reviewer)
    page = ben.look("/ui/releases")
    assert "Put v1.1.0 into service?" in page
    assert "Your key does not have the scope" in page
    fields = {"version": "v1.1.0", "answer": "decline", "comment": " not  before Friday "}
    assert ben.client.post("/ui/releases/answer", data=fields | {"token": ben.token}).status_code == 403
    releaser = Person(app, ana)
    page = releaser.look("/ui/releases")
    assert "&lt;b&gt;the first&lt;/b&gt;" in page
    assert page.count("R@1 tells") == 4  # the question's reason, and those of three decisions
    first = "The right product comes first for 42.0 % of the pictures (95 % interval 40.0 to 44.0; 9 pictures)."
    assert page.count(first) == 3  # the question, and the decisions about two releases
    assert "It replaces v1.0.0." in page
    assert page.count("passed the checks, waits for approval") == 1
    assert "v1.0.0 stays in service" in page
    address = "/ui/releases/report?model=b"
    assert page.count(address) == 2  # with the question, and with the decision; the others have no run
    report = releaser.client.get(address)
    assert "<title>Run b</title>" in report.text
    assert "default-src 'none'" in report.headers["content-security-policy"]
    assert ben.client.get(address).status_code == 403
    for missing in ("?model=../x", ""):
        assert releaser.client.get(f"/ui/releases/report{missing}").status_code == 404
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "v1.0.0 +7.0 700 [100] 20 [2.9] 1.5 [0.21] 3.5 [0.5] 21 [3]" in words
    japanese = releaser.client.get("/ui/releases", headers={"accept-language": "ja"}).text
    assert "リリースごとの費用" in japanese
    assert "正しい製品が 1 位になる割合は 42.0%（95% 信頼区間 40.0〜44.0%、写真 9 枚）です。" in japanese
    assert "This is too little: the whole interval must lie above +0.0 points." in page
    assert "区間全体が +0.0 ポイントを上回っていないため、不十分です。" in japanese
    assert "42.0" in page
    assert "category=mug" not in page
    with workspace_lock(undecided):
        busy = releaser.client.post("/ui/releases/answer", data=fields | {"token": releaser.token})
    assert (busy.status_code, "another run is at work" in busy.text) == (422, True)
    for wrong in ({"answer": "maybe"}, {"version": "v9.0.0"}):
        answer = releaser.client.post("/ui/releases/answer", data=fields | {"token": releaser.token} | wrong)
        assert "was not stored" in answer.text
    answer = releaser.client.post("/ui/releases/answer", data=fields | {"token": releaser.token})
    assert "Declined. Nothing changes." in answer.text
    assert "Put v1.1.0 into service?" not in answer.text
    kept = Approval.read(undecided.approval("v1.1.0"))
    assert kept is not None
    assert (kept.approved, kept.name, kept.comment) == (False, "Ana", "not before Friday")
    assert Repository(undecided.root).git("log", "-1", "--format=%s") == "v1.1.0 declined by Ana"


def test_a_request_expires_and_the_release_in_service_is_always_compared(
    undecided: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = ReleaseHistory(undecided)
    assert [one.approval.version for one in history.facts().questions] == ["v1.1.0"]

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=2)

    monkeypatch.setattr(releases, "datetime", Later)
    facts = history.facts()  # no file has changed
    assert (facts.questions, facts.versions) == ([], ["v1.0.0"])
    assert not any(one.version for one in facts.decisions)
    assign_champion(undecided, "v1.1.0", message="")
    assign_champion(undecided, "v1.0.0", message="back", force=True)
    monkeypatch.setattr(releases, "COLUMNS", 1)
    facts = history.facts()
    assert facts.versions == [facts.current] == ["v1.0.0"]


def test_a_folder_that_is_no_repository_has_no_releases(tmp_path: object, layout: Layout) -> None:
    page = TestClient(application(layout, layout.service, keyless=True), **FROM_BROWSER).get("/ui/releases").text
    assert "No release has been in service yet" in page


def test_the_page_shows_how_a_canary_ended(layout: Layout) -> None:
    record, now = CanaryRecord(layout.service.canaries), datetime.now(UTC)
    canary = {"id": "c", "began": now, "until": now, "champion": "v1.0.0", "challenger": "v1.1.0", "package": "p"}
    record.begin(CanaryReport(**canary, share=0.1, callers=("shop",)))
    client = TestClient(application(layout, layout.service, keyless=True), **FROM_BROWSER)
    assert "A canary of v1.1.0 runs until" in client.get("/ui/releases").text
    record.add("c", {"failed": 9})
    record.end("c", "rolled back", "errors: 9 of 9")
    page = client.get("/ui/releases").text
    assert "The canary of v1.1.0 was rolled back" in page
    assert "after 9 requests" in page
    assert "errors: 9 of 9" in page
