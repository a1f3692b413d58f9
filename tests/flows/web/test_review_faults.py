"""What the review pages say where a decision cannot be taken back, a file is damaged or a reviewer may not decide."""

from __future__ import annotations

import re

import pytest
from reviewers import PersonMaker, doubted_picture
from tiny import tiny_data

from bentos.middleware import keys
from bentos.runtime.feedback import Spool
from entityclip.data import pairs
from entityclip.errors import DataError
from entityclip.paths import Layout
from entityclip.quality.review import add_reviews, read_reviews
from flows.web.desk import FEEDBACK, Desk
from flows.web.waiting import Waiting


def test_a_decision_that_was_replaced_is_not_taken_back(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    ana.send(decision="accept")
    (stored,) = read_reviews(layout.reviews)
    add_reviews(layout.reviews, [stored.model_copy(update={"decision": "reject"})], overrule=True)
    page = ana.send("undo")
    assert "Nothing was taken back." in page
    assert "a later decision has replaced it" in page
    desk = Desk(layout, spool=Spool(layout.service.feedback))
    assert [one.decision for one in desk.opinions.latest(count=9)] == ["accept"]
    assert [one.decision for one in read_reviews(layout.reviews)] == ["reject"]


def test_feedback_that_was_ingested_is_not_taken_back(layout: Layout, person: PersonMaker) -> None:
    doubted_picture(layout)
    ana = person("Ana")
    ana.send(decision="accept")
    Spool(layout.service.feedback).drop(until=9)
    assert "entityclip feedback has ingested it" in ana.send("undo")
    assert "Right" in ana.look("/ui/review/decided")


def test_feedback_is_not_offered_to_the_reviewer_who_gave_it(layout: Layout, person: PersonMaker) -> None:
    ids = {key.name: key.id for key in keys.read(layout.service.keys)}
    doubted_picture(layout, right=ids["Ana"])
    ana, ben = person("Ana"), person("Ben")
    item = ben.item
    assert item.startswith(FEEDBACK)
    assert not ana.item.startswith(FEEDBACK)
    ben.send("skip")
    assert "feedback is of your own key" in ana.send(item=item, decision="accept")
    assert list(Spool(layout.service.feedback).read()) == []


def test_a_decision_that_was_not_logged_was_stored_all_the_same(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    layout.audit.mkdir(parents=True)  # where the file should be
    for action, stored in (("decide", 1), ("undo", 0)):
        page = ana.send(action, decision="accept")
        assert "The change was made, but it is not in the audit log." in page
        assert "was not stored" not in page
        assert len(read_reviews(layout.reviews)) == stored


def test_damaged_files_are_named_on_the_page(layout: Layout, person: PersonMaker) -> None:
    ana = person("Ana")
    ana.send(decision="accept")
    token, item = ana.token, ana.item
    layout.reviews.write_bytes(b"\xff")
    assert "restore it: git checkout" in ana.send("undo")
    layout.review_desk.write_bytes(b"no database" * 99)
    for action in ("undo", "skip"):
        answer = ana.client.post(f"/ui/review/{action}", data={"token": token, "item": item})
        assert (answer.status_code, "delete the file" in answer.text) == (503, True)


def test_own_pictures_are_none_before_the_first_data_and_damage_is_named(layout: Layout) -> None:
    waiting = Waiting(layout)
    assert waiting.own_pictures == 0
    data = tiny_data(layout.data.root)
    assert waiting.own_pictures > 0
    for path in pairs.shards(data.pairs):
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=re.escape(str(data.pairs))):
        _ = Waiting(layout).own_pictures
