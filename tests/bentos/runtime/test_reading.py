"""Labels are read beside the requests: a request that waits too long is answered without what they say."""

from __future__ import annotations

import logging

import pytest
from printed import card_of, needs_reader, png, texts

from bentos.runtime import reading
from bentos.runtime.reading import Reader
from entityclip.data.labels import LabelReader
from entityclip.errors import ConfigError, ImageError

CARD = png(card_of("KX-204B"))


def test_nothing_is_read_unless_it_is_wanted() -> None:
    assert Reader(threads=1, seconds=1).read([CARD], read=False) is None


def test_without_a_reader_auto_answers_and_true_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: object) -> LabelReader:
        raise ConfigError("run: pip install 'entityclip[labels]'")

    monkeypatch.setattr(reading, "can_read", lambda: False)
    monkeypatch.setattr(reading, "LabelReader", missing)
    answer = Reader(threads=1, seconds=1).read([CARD], read="auto")
    assert answer is not None
    assert (answer.outcome, answer.labels) == ("no reader", ())
    with pytest.raises(ConfigError, match="pip install"):
        Reader(threads=1, seconds=1).read([CARD], read=True)


@needs_reader
@pytest.mark.slow
def test_pictures_of_one_thing_are_read_one_after_the_other() -> None:
    answer = Reader(threads=1, seconds=60).read([png(card_of("QA-101C")), CARD], read=True)
    assert answer is not None
    assert answer.outcome == "read"
    assert [(label.picture, label.text) for label in answer.labels] == [(0, "QA-101C"), (1, "KX-204B")]
    assert 0 < answer.seconds < 60


@needs_reader
@pytest.mark.slow
def test_after_the_deadline_the_answer_comes_without_and_the_next_one_is_read() -> None:
    reader = Reader(threads=1, seconds=0.001)
    answer = reader.read([CARD], read="auto")
    assert answer is not None
    assert (answer.outcome, answer.labels) == ("late", ())
    reader.seconds = 60
    later = reader.read([CARD], read="auto")
    assert later is not None
    assert texts(later.labels) == ["KX-204B"]


@needs_reader
def test_an_unusable_picture_is_an_error_and_a_fault_of_the_reader_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ImageError):
        Reader(threads=1, seconds=60).read([b"no picture"], read=True)

    def broken(*_: object, **__: object) -> None:
        raise ValueError("KX-204B is no number")

    monkeypatch.setattr(LabelReader, "read_file", broken)
    with caplog.at_level(logging.ERROR):
        answer = Reader(threads=1, seconds=60).read([CARD], read=True)
    assert answer is not None
    assert answer.outcome == "failed"
    assert "ValueError" in caplog.text
    assert "KX-204B" not in caplog.text  # what was read stays out of the log
