"""Which judgements count: bounded for each caller, weighed against each other, and measured over time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

import pytest

from entityclip.data import pairs
from entityclip.monitoring.feedback import (
    FeedbackPolicy,
    Intake,
    JudgedRow,
    Verdict,
    agreement,
)
from entityclip.monitoring.feedback_pictures import accepted_images, doubtful_claims

MONDAY = date(2026, 11, 2)
ENTITIES = {"r": "KX-RED", "b": "KX-BLUE"}


@dataclass(frozen=True)
class Vote:
    """A judgement, as a spool would give it."""

    picture: bytes
    verdict: Verdict = "right"
    entity_id: str = "r"
    key: str = "ana"
    entity: str = "?"
    release: str = "v1.0.0"
    text: str = ""

    @property
    def id(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()


def taken(*votes: Vote, before=(), policy: FeedbackPolicy | None = None, day: date = MONDAY, pictures=None):
    intake = Intake(before, ENTITIES, pictures or {}, policy=policy or FeedbackPolicy())
    return [row for row in (intake.take(one, day=day) for one in votes) if row is not None]


def entities_of(rows: list[JudgedRow], policy: FeedbackPolicy | None = None) -> list[str]:
    return sorted(accepted_images(rows, policy=policy or FeedbackPolicy(), own=0)["entity"])


def test_a_confirmed_and_a_corrected_picture_become_rows_to_train_on(picture_bytes):
    confirmed, corrected = Vote(picture_bytes(1)), Vote(picture_bytes(2), "missing", "", entity="KX-BLUE")
    table = accepted_images(taken(confirmed, corrected), policy=FeedbackPolicy(licence="CC0"), own=0)
    assert sorted(table["entity"]) == ["KX-BLUE", "KX-RED"]
    assert set(table["split"]) == {"train"}
    assert set(table["licence"]) == {"CC0"}
    assert set(table["file"]) == {f"pictures/{hashlib.sha256(s.picture).hexdigest()}" for s in (confirmed, corrected)}


def test_the_same_judgement_is_ingested_once_now_and_later(picture_bytes):
    votes = Vote(picture_bytes(1))
    rows = taken(votes, votes)
    assert len(rows) == 1
    assert taken(votes, before=rows) == []


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        (Vote(b""), "neither a picture nor words"),
        (Vote(b"", text="Sunrise"), "feedback.keep_words is off"),
        (Vote(b"\xff\xd8 no picture at all"), "broken header|not a JPEG"),
        (Vote(b"x", entity_id="other", entity="a stranger"), "the data know no such entity"),
    ],
)
def test_what_brings_no_picture_is_kept_with_the_reason(votes, reason):
    (row,) = taken(votes)
    assert any(part in row.unusable for part in reason.split("|"))
    assert row.words == ""
    assert entities_of([row]) == []


def test_an_unknown_entity_becomes_a_new_one_once_a_second_caller_agrees(picture_bytes):
    (one,) = taken(Vote(picture_bytes(1), "missing", "", entity="KX-900"))
    assert (one.entity_id, one.unusable, one.new_entity) == (pairs.entity_id("KX-900"), "", True)
    assert entities_of([one]) == []
    (claim,) = doubtful_claims([one], policy=FeedbackPolicy(), own=100)
    assert (claim.doubt, claim.entity, claim.right) == ("new", "KX-900", 1)
    (two,) = taken(Vote(picture_bytes(1), "right", claim.entity_id, key="ben", entity="KX-900"), before=[one])
    assert entities_of([one, two]) == ["KX-900"]
    (no,) = taken(Vote(picture_bytes(1), "wrong", claim.entity_id, key="ben", entity="KX-900"), before=[one])
    assert entities_of([one, no]) == []


def test_an_entity_that_was_removed_in_service_does_not_come_back(picture_bytes):
    intake = Intake([], ENTITIES, {}, policy=FeedbackPolicy(), removed={"r"})
    row = intake.take(Vote(picture_bytes(1)), day=MONDAY)
    assert row is not None
    assert row.unusable == "the entity was removed in service"


def test_other_names_and_codes_mean_the_same_entity(picture_bytes):
    others = {"4512345678901": "r", "old kettle": "gone", "kx-blue": "r"}
    intake = Intake([], ENTITIES, {}, policy=FeedbackPolicy(), removed={"gone"}, other_names=others)
    judged = [
        intake.take(Vote(picture_bytes(number), "missing", "", entity=name), day=MONDAY)
        for number, name in enumerate(("４５１２３４５６７８９０１", "kx-red", "KX-Blue", "Old  Kettle"))
    ]
    assert [(row.entity_id, row.unusable) for row in judged if row] == [
        ("r", ""),
        ("r", ""),
        ("b", ""),  # a name goes before another entity's other name
        ("gone", "the entity was removed in service"),
    ]


def test_a_picture_of_the_evaluation_set_never_comes_back_as_a_training_row(picture_bytes):
    sha = hashlib.sha256(picture_bytes(1)).hexdigest()
    same, other = (taken(Vote(picture_bytes(1), entity_id=key), pictures={sha: "r"})[0].unusable for key in ("r", "b"))
    assert same == "the data have this picture"
    assert other == "the data have this picture, of KX-RED"


def test_one_caller_cannot_flood(picture_bytes):
    policy = FeedbackPolicy(max_daily_per_key=5, max_per_entity=3)
    flood = taken(*(Vote(picture_bytes(seed)) for seed in range(10)), policy=policy)
    assert [row.flood for row in flood] == [False] * 3 + [True] * 7
    assert len(entities_of(flood, policy)) == 3
    others = taken(
        Vote(picture_bytes(99), key="bo"), Vote(picture_bytes(98), entity_id="b"), before=flood, policy=policy
    )
    assert [row.flood for row in others] == [False, True]  # ana's day is over, bo's is not
    tuesday = taken(Vote(picture_bytes(97), entity_id="b"), before=flood, policy=policy, day=date(2026, 11, 3))
    assert not tuesday[0].flood


def test_one_key_fills_no_more_than_its_share_of_the_training_data_however_many_days_it_takes(picture_bytes):
    policy = FeedbackPolicy(max_share_per_key=0.1, max_per_entity=3)
    rows: list[JudgedRow] = []
    for day in range(1, 5):
        votes = [Vote(picture_bytes(10 * day + n), entity_id=e) for n, e in enumerate("rbrbrb")]
        rows += taken(
            *votes, before=rows, policy=policy.model_copy(update={"max_per_entity": 99}), day=date(2026, 11, day)
        )
    assert len(rows) == 24
    assert len(accepted_images(rows, policy=policy, own=100)) == 10
    assert len(accepted_images(rows, policy=policy, own=0)) == 3
    first = {f"pictures/{row.picture}" for row in rows[:10]}
    assert set(accepted_images(rows, policy=policy, own=100)["file"]) == first
    last = Vote(picture_bytes(45), entity_id="b", key="bo")
    agreed = accepted_images([*rows, *taken(last, before=rows, policy=policy)], policy=policy, own=100)
    assert len(agreed) == 11  # a second key vouches for the last one, which then takes nothing of the first key's share


def test_rubbish_does_not_use_up_what_a_caller_may_say_about_an_entity(picture_bytes):
    policy = FeedbackPolicy(max_per_entity=1)
    rows = taken(Vote(b"rubbish"), Vote(picture_bytes(1)), policy=policy)
    assert entities_of(rows, policy) == ["KX-RED"]


def test_others_outweigh_one_caller(picture_bytes):
    yes, no = Vote(picture_bytes(1)), Vote(picture_bytes(1), "wrong", key="bo")
    assert entities_of(taken(yes, no)) == []
    assert entities_of(taken(yes, no, Vote(picture_bytes(1), key="cy"))) == ["KX-RED"]


def test_a_caller_who_changes_his_mind_has_one_vote(picture_bytes):
    yes, no = Vote(picture_bytes(1)), Vote(picture_bytes(1), "wrong")
    assert entities_of(taken(yes, no)) == []
    assert entities_of(taken(no, yes)) == ["KX-RED"]


def test_a_picture_that_two_entities_claim_counts_for_neither(picture_bytes):
    red, blue = Vote(picture_bytes(1)), Vote(picture_bytes(1), entity_id="b", key="bo")
    assert entities_of(taken(red, blue)) == []


def test_a_policy_may_require_two_keys(picture_bytes):
    policy, one, two = FeedbackPolicy(min_agreeing_keys=2), Vote(picture_bytes(1)), Vote(picture_bytes(1), key="bo")
    assert entities_of(taken(one, policy=policy), policy) == []
    assert entities_of(taken(one, two, policy=policy), policy) == ["KX-RED"]


def doubts_of(rows: list[JudgedRow], policy: FeedbackPolicy | None = None) -> list[tuple[str, str]]:
    return [(one.entity, one.doubt) for one in doubtful_claims(rows, policy=policy or FeedbackPolicy(), own=0)]


def test_what_one_opinion_does_not_decide_waits_for_a_second(picture_bytes):
    yes, no = Vote(picture_bytes(1)), Vote(picture_bytes(1), "wrong", key="bo")
    assert doubts_of(taken(yes)) == []  # accepted
    assert doubts_of(taken(yes, no)) == [("KX-RED", "contradicted")]
    assert doubts_of(taken(yes, no, Vote(picture_bytes(1), "wrong", key="cy"))) == []  # refused
    assert doubts_of(taken(yes, no, Vote(picture_bytes(1), key="cy"))) == []
    policy = FeedbackPolicy(min_agreeing_keys=2)
    assert doubts_of(taken(yes, policy=policy), policy) == [("KX-RED", "few")]
    blue = Vote(picture_bytes(1), entity_id="b", key="bo")
    assert doubts_of(taken(yes, blue)) == [("KX-RED", "two_entities"), ("KX-BLUE", "two_entities")]
    policy = FeedbackPolicy(max_per_entity=2, max_share_per_key=0)
    many = [Vote(picture_bytes(number), entity_id="rrb"[number]) for number in range(3)]
    assert doubts_of(taken(*many, policy=policy), policy) == [("KX-BLUE", "share")]


def test_recall_and_precision_by_week_and_release():
    votes = [("right", 3, "v1"), ("wrong", 1, "v1"), ("missing", 2, "v1"), ("right", 1, "v2")]
    rows = [
        JudgedRow(id=f"{v}{n}{r}", day=day, release=r, key="k", verdict=v, entity_id="r", entity="", picture="")
        for v, count, r in votes
        for n, day in zip(range(count), (MONDAY, date(2026, 11, 5), date(2026, 11, 8)), strict=False)
    ]
    flood = rows[0].model_copy(update={"flood": True, "verdict": "wrong"})
    table = agreement([*rows, *[flood] * 50]).set_index(["release", "figure"])
    assert set(table["week"]) == {MONDAY}
    assert table.loc[("v1", "recall"), ["value", "judged"]].tolist() == [60.0, 5]
    assert table.loc[("v1", "precision"), ["value", "judged"]].tolist() == [75.0, 4]
    assert table.loc[("v2", "recall"), "value"] == 100.0
    assert 15 < table.loc[("v2", "recall"), "low"] < 25  # Wilson: one success is no certainty
    assert agreement([]).empty
