"""Leases and opinions of several reviewers in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from entityclip.errors import ConfigError, DataError
from entityclip.quality.review.opinions import LEASE_SECONDS, Opinion, Opinions


class Clock:
    """Seconds since 1970, set by the test."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opinions(tmp_path: Path, clock: Clock) -> Opinions:
    return Opinions(tmp_path / "review.sqlite", clock=clock)


def opinion_of(reviewer: str, item: str) -> Opinion:
    return Opinion(item=item, reviewer=reviewer, decision="accept")


def decide(opinions: Opinions, item: str, reviewer: str) -> None:
    with opinions.adding([opinion_of(reviewer, item)], settled={item}):
        pass


def test_a_reviewer_has_one_opinion_about_an_item(opinions: Opinions) -> None:
    decide(opinions, "a", "Ana")
    again = opinions.adding([opinion_of("Ana", item) for item in ("b", "a")], settled={"a", "b"})
    with pytest.raises(ConfigError, match=r"Ana has decided about this item already \(a\)"), again:
        pytest.fail("the decision was stored")
    assert (opinions.of("b"), len(opinions.of("a"))) == ((), 1)
    decide(opinions, "a", "Ben")
    assert len(opinions.of("a")) == 2


def test_an_opinion_is_not_kept_where_its_decision_cannot_be_stored(opinions: Opinions) -> None:
    assert opinions.hold("Ana", "a")
    with pytest.raises(DataError, match="full"), opinions.adding([opinion_of("Ana", "a")], settled={"a"}):
        raise DataError("full")
    assert opinions.of("a") == ()
    assert opinions.held_by_others("Ben") == {"a"}


def test_an_opinion_stays_where_its_decision_cannot_be_taken_back(opinions: Opinions) -> None:
    decide(opinions, "a", "Ana")
    with pytest.raises(ConfigError, match="ingested"), opinions.withdrawing_last("Ana"):
        raise ConfigError("ingested")
    assert [one.item for one in opinions.of("a")] == ["a"]
    assert opinions.open() == {}


@pytest.mark.parametrize(("waited", "holder"), [(0.0, "Ben"), (LEASE_SECONDS + 1, "Ana")])
def test_undo_does_not_take_the_item_from_another_reviewer(
    opinions: Opinions, clock: Clock, waited: float, holder: str
) -> None:
    decide(opinions, "a", "Ana")
    assert opinions.hold("Ben", "a")
    clock.now += waited
    with opinions.withdrawing_last("Ana") as taken:
        assert len(taken) == 1
    assert {name for name in ("Ana", "Ben") if not opinions.held_by_others(name)} == {holder}
