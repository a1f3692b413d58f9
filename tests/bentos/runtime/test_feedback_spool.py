"""The spool: kept once, read in order, bounded, and written by many at once."""

import threading

import pytest

from bentos.runtime import feedback
from bentos.runtime.feedback import Feedback, Spool
from entityclip.errors import DataError


def judged(text: str = "kettle", **given) -> Feedback:
    fields = {"release": "v1.0.0", "key": "k", "verdict": "right", "entity_id": "e", "entity": "KX-RED", "text": text}
    return Feedback(**(fields | given))


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "state" / "feedback.sqlite")


def test_what_was_put_is_read_in_order_and_forgotten_once_it_is_safe(spool):
    rows = [judged("やかん"), judged("b", picture=b"\x89PNG\x00"), judged("c", verdict="missing", entity_id="")]
    for row in rows:
        spool.put(row)
    assert [row for _, row in spool.read()] == rows
    (second, _), (third, _) = spool.read(after=1)
    spool.drop(until=second)
    assert list(spool.read()) == [(third, rows[2])]
    spool.put(judged("d"))
    assert [number for number, _ in spool.read()] == [third, third + 1]


def test_sent_twice_is_kept_once(spool):
    assert spool.put(judged()) == spool.put(judged()) == judged().id
    assert len(list(spool.read())) == 1
    assert judged().id != judged(picture=b"x").id != judged(verdict="wrong").id


def test_many_at_once_lose_nothing(spool):
    texts = [[f"{thread} {number}" for number in range(20)] for thread in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: [spool.put(judged(t)) for t in mine]) for mine in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.text for _, row in spool.read()} == {text for mine in texts for text in mine}


@pytest.mark.parametrize(("limit", "value"), [("MOST_ROWS", 2), ("MOST_BYTES", 50_000)])
def test_full_spool_refuses_until_it_was_read(spool, monkeypatch, limit, value):
    monkeypatch.setattr(feedback, limit, value)
    for text in "ab":
        spool.put(judged(text, picture=text.encode() * 20_000))
    with pytest.raises(DataError, match="the feedback spool is full"):
        spool.put(judged("c"))
    spool.drop(until=2)
    spool.put(judged("c"))


def test_spool_that_is_no_database_is_an_error(spool):
    spool.path.parent.mkdir()
    spool.path.write_text("hello, this is a text and no database at all\n" * 30)
    with pytest.raises(DataError, match=r"feedback\.sqlite: the feedback spool cannot be used"):
        spool.put(judged())
