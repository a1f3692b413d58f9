"""Hands items to reviewers one by one, and stores what they decide.

A decision about a text is stored as ``entityclip review import`` stores it, by the same function. A decision about
feedback is one more judgement in the service's spool, under the reviewer's key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import Field

from bentos.runtime.feedback import Feedback, Spool
from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.monitoring.feedback import JudgedRow, Verdict
from entityclip.monitoring.feedback_pictures import DoubtfulClaim, doubtful_claims
from entityclip.monitoring.feedback_words import doubtful_names
from entityclip.paths import Layout
from entityclip.quality.review import PendingText, Review, add_reviews, withdraw_reviews
from entityclip.quality.review.opinions import Opinion, Opinions, Pace
from entityclip.schemas import Record
from entityclip.settings import read_config
from flows.web.audit import AuditLog, Reviewer
from flows.web.outcome import ReviewItem, row_of, winner_of
from flows.web.waiting import Waiting

FEEDBACK = "feedback:"
"""Begins the id of an item that is feedback: ``feedback:SHA256:ENTITY``, or with a hash of words."""

VERDICTS: dict[str, Verdict] = {"accept": "right", "reject": "wrong"}
"""Decision about feedback -> verdict that is stored."""


class Answer(Record):
    """What a reviewer decides about an item."""

    decision: str
    edited_text: str = ""
    note: str = ""
    seconds: float | None = Field(default=None, description="None: measured since the page showed the item.")


class Count(NamedTuple):
    """How much waits."""

    texts: int
    feedback: int
    disagreements: int

    @property
    def all(self) -> int:
        """Items that wait."""
        return self.texts + self.feedback


class Desk:
    """The queue of one workspace; threads and processes may share it.

    Args:
        layout: The workspace.
        spool: Where judgements about feedback go.
        opinions: Reviewers who must agree about a text, 1 or 2. If two disagree, a third decides.
    """

    def __init__(self, layout: Layout, *, spool: Spool, opinions: int = 1) -> None:
        self.layout, self.waiting, self._needed, self._spool = layout, Waiting(layout), opinions, spool
        self.opinions, self.audit = Opinions(layout.review_desk), AuditLog(layout.audit)
        self._known_claims: tuple[tuple[JudgedRow, ...], tuple[str, ...], dict[str, DoubtfulClaim]] | None = None

    # ------------------------------------------------------------ the queue
    def next(self, reviewer: Reviewer) -> ReviewItem | None:
        """The item that the reviewer holds or gets now; None where nothing waits for them.

        Raises:
            DataError: The files of the batch are missing or damaged, as while a run is at work.
        """
        open_ = self.opinions.open()
        given = [*self.opinions.about(FEEDBACK), *(one for opinions in open_.values() for one in opinions)]
        mine = {one.item for one in given if one.reviewer == reviewer.name} | self._judged_by(reviewer)
        chosen = self.opinions.take(reviewer.name, self._order(open_, self._claims()), also=mine)
        return None if chosen is None else self.item(chosen)

    def item(self, item_id: str) -> ReviewItem | None:
        """One item, decided or not; None where there is none with this id."""
        text = self.waiting.texts.texts.get(item_id)
        claim = self._claims().get(item_id)
        if text is None and claim is None:
            return None
        return ReviewItem(item_id, text, claim, self.opinions.of(item_id), self.waiting.reviews.get(item_id))

    def similar(self, item: ReviewItem, reviewer: Reviewer) -> list[PendingText]:
        """Similar cases of a text that wait and that no other reviewer holds."""
        if item.text is None:
            return []
        open_, decided = self.opinions.open(), self.waiting.reviews
        found = [text for text in self.waiting.texts.similar(item.text) if text.explanation_id not in decided]
        if not found:
            return []
        taken = self.opinions.held_by_others(reviewer.name) | open_.keys()
        return [text for text in found if text.explanation_id not in taken]

    def count(self) -> Count:
        """How much waits for anybody."""
        open_, claims = self.opinions.open(), self._claims()
        disagreements = sum(len({(one.decision, one.edited_text) for one in given}) > 1 for given in open_.values())
        waiting = sum(1 for _ in self._order(open_, {}))
        return Count(waiting, len(claims), disagreements)

    def pace(self, reviewer: Reviewer) -> Pace:
        """How fast the reviewer decides."""
        return self.opinions.pace(reviewer.name)

    def _order(self, open_: Mapping[str, Sequence[Opinion]], claims: Mapping[str, DoubtfulClaim]) -> Iterator[str]:
        """Ids of what waits: texts that were decided about once, then feedback, then the others by expected gain."""
        texts, decided = self.waiting.texts.texts, self.waiting.reviews
        yield from (item for item in open_ if item in texts)
        yield from claims
        yield from (item for item in texts if item not in decided and item not in open_)

    def _claims(self) -> dict[str, DoubtfulClaim]:
        """ReviewItem id -> feedback that a second opinion decides; what reviewers judged already counts."""
        judged = self.waiting.judged
        if not judged:
            return {}
        own = tuple(opinion.stored for opinion in self.opinions.about(FEEDBACK))
        if self._known_claims is None or self._known_claims[:2] != (judged, own):
            self._known_claims = (judged, own, self._doubtful(judged, own))
        return self._known_claims[2]

    def _doubtful(self, judged: tuple[JudgedRow, ...], own: Iterable[str]) -> dict[str, DoubtfulClaim]:
        ingested = {row.id for row in judged}
        mine = [row for text in own if (row := JudgedRow.model_validate_json(text)).id not in ingested]
        policy = read_config(self.layout.config).feedback
        rows = [*judged, *mine]
        found = doubtful_claims(rows, policy=policy, own=self.waiting.own_pictures)
        found += doubtful_names(rows, policy=policy)
        return {_item_of(claim): claim for claim in found}

    def _judged_by(self, reviewer: Reviewer) -> set[str]:
        """Items about which the reviewer's key gave feedback, so that its second opinion would be none."""
        return {_item_of(row) for row in self.waiting.judged if row.key == reviewer.key and not row.unusable}

    # ------------------------------------------------------------ decisions
    def decide(self, reviewer: Reviewer, items: Sequence[str], answer: Answer) -> int:
        """Store the same decision about one item, or about similar cases; returns how many were stored.

        Args:
            reviewer: Who decides.
            items: The item, then its similar cases; of these, those that another reviewer holds are left out.
            answer: The decision.

        Raises:
            ConfigError: Another reviewer holds the item, this one has decided about it already, or the decision is not
                complete.
            AuditError: The decision was stored, but not logged.
            DataError: A file is damaged.
        """
        first = self.item(items[0])
        if first is None:
            raise ConfigError("this item no longer waits; the data have changed since the page was shown")
        if not self.opinions.hold(reviewer.name, first.id):
            raise ConfigError("another reviewer has this item at the moment")
        similar = {text.explanation_id for text in self.similar(first, reviewer)} if items[1:] else set()
        found = [first, *(item for key in items[1:] if key in similar and (item := self.item(key)) is not None)]
        seconds = self.opinions.seconds_since(reviewer.name, first.id) if answer.seconds is None else answer.seconds
        each = answer.model_copy(update={"seconds": seconds / len(found)})
        return self._judge(reviewer, first, each) if first.claim is not None else self._review(reviewer, found, each)

    def skip(self, reviewer: Reviewer, item: str) -> None:
        """Put the item behind all others of this reviewer."""
        self.opinions.skip(reviewer.name, item)

    def undo(self, reviewer: Reviewer) -> int:
        """Take back the last decision, or the last ones that were made at once; returns how many.

        A decision stays, and does not count, where a later one has replaced it in the file.

        Raises:
            ConfigError: None of them can be taken back any more.
            AuditError: They were taken back, but this was not logged.
            DataError: A file is damaged.
        """
        with self.opinions.withdrawing_last(reviewer.name) as taken:
            count = len(taken) - self._kept(taken)
            if taken and not count:
                ingested = taken[0].item.startswith(FEEDBACK)
                reason = "entityclip feedback has ingested it" if ingested else "a later decision has replaced it"
                raise ConfigError(f"the last decision cannot be taken back: {reason}")
        for one in taken:
            self.audit.record(reviewer, "undo", one.item, before=_logged(one), after=_logged(one, "replaced"))
        return count

    def _kept(self, taken: Sequence[Opinion]) -> int:
        """Take the decisions that follow from these opinions back; returns how many could not be."""
        claims = [one for one in taken if one.item.startswith(FEEDBACK)]
        rows = _rows([one for one in taken if not one.item.startswith(FEEDBACK)], "stored")
        withdrawn = withdraw_reviews(self.layout.reviews, rows, before=_rows(taken, "replaced"))
        withdrawn += sum(self._spool.withdraw(JudgedRow.model_validate_json(one.stored).id) for one in claims)
        return len(rows) + len(claims) - withdrawn

    def _review(self, reviewer: Reviewer, items: Sequence[ReviewItem], answer: Answer) -> int:
        """Store opinions about texts, and the decisions that follow from them."""
        given: list[Opinion] = []
        rows: list[Review] = []
        for item in items:
            before = self._before(item)
            opinion = Opinion(item=item.id, reviewer=reviewer.name, **answer.model_dump())
            copied = () if item.opinions else before
            row = self._outcome(item, (*before, opinion))
            if row is not None and (item.stored is None or not item.stored.same_as(row)):
                replaced = "" if item.stored is None else item.stored.model_dump_json()
                opinion = opinion.model_copy(update={"stored": row.model_dump_json(), "replaced": replaced})
                rows.append(row)
            elif row is None:
                self._require_complete(item, opinion)
            given += [*copied, opinion]
        with self.opinions.adding(given, settled={one.item for one in given} - self._unsettled(items, given)):
            add_reviews(self.layout.reviews, rows, overrule=True)
        for opinion in given:
            if not opinion.at:
                was, now = _logged(opinion, "replaced"), _logged(opinion)
                self.audit.record(reviewer, "decide", opinion.item, before=was, after=now)
        return len(items)

    def _before(self, item: ReviewItem) -> tuple[Opinion, ...]:
        """Opinions about an item, or the stored decision as one."""
        if item.opinions or item.stored is None:
            return item.opinions
        stored = item.stored
        seconds, at = 60 * stored.minutes, datetime.combine(stored.day, datetime.min.time(), UTC).timestamp()
        fields = stored.model_dump(include={"reviewer", "decision", "edited_text", "note"})
        return (Opinion(item=item.id, seconds=seconds, at=at, **fields),)

    def _unsettled(self, items: Iterable[ReviewItem], given: Sequence[Opinion]) -> set[str]:
        """Items that need a further opinion after these."""
        found = set()
        for item in items:
            voices = [*item.opinions, *(one for one in given if one.item == item.id)]
            if winner_of(voices, needed=self._needed) is None:
                found.add(item.id)
        return found

    def _outcome(self, item: ReviewItem, voices: Sequence[Opinion]) -> Review | None:
        """The row that these opinions store; None where they do not suffice.

        Raises:
            ConfigError: The decision is not complete, as a correction without a text.
        """
        winner = winner_of(voices, needed=self._needed)
        if winner is None:
            return None
        agreed = [one for one in voices if one.same_as(winner)]
        return row_of(item, winner, agreed)

    @staticmethod
    def _require_complete(item: ReviewItem, opinion: Opinion) -> None:
        row_of(item, opinion, [opinion])

    def _judge(self, reviewer: Reviewer, item: ReviewItem, answer: Answer) -> int:
        """Store a judgement about feedback."""
        assert item.claim is not None
        claim, verdict = item.claim, VERDICTS.get(answer.decision)
        path = self.layout.feedback.picture(claim.picture)
        if verdict is None:
            raise ConfigError(f"{answer.decision!r}: feedback is right (accept) or wrong (reject)")
        if item.id in self._judged_by(reviewer):
            raise ConfigError(f"{item.name}: this feedback is of your own key; another reviewer has to judge it")
        if claim.picture and not path.is_file():
            raise DataError(f"{path}: the picture is missing; restore it: dvc checkout feedback.dvc")
        about: dict[str, Any] = {"entity_id": claim.entity_id, "entity": claim.entity, "release": claim.release}
        picture = path.read_bytes() if claim.picture else b""
        judgement = Feedback(key=reviewer.key, verdict=verdict, text=claim.words, picture=picture, **about)
        kept = JudgedRow(
            id=judgement.id,
            day=datetime.now(UTC).date(),
            key=reviewer.key,
            verdict=judgement.verdict,
            picture=claim.picture,
            words=claim.words,
            **about,
        )
        opinion = Opinion(item=item.id, reviewer=reviewer.name, stored=kept.model_dump_json(), **answer.model_dump())
        with self.opinions.adding([opinion], settled={item.id}):
            self._spool.put(judgement)
        self.audit.record(reviewer, "judge", item.id, after=_logged(opinion))
        return 1


def _item_of(claim: DoubtfulClaim | JudgedRow) -> str:
    return f"{FEEDBACK}{claim.picture or pairs.digest(pairs.normalised(claim.words))}:{claim.entity_id}"


def _rows(opinions: Sequence[Opinion], column: str) -> list[Review]:
    return [Review.model_validate_json(text) for one in opinions if (text := getattr(one, column))]


def _logged(opinion: Opinion, column: str = "") -> dict[str, Any] | None:
    """The row that an opinion replaced, or the opinion itself, for the audit log."""
    if column:
        text = getattr(opinion, column)
        return json.loads(text) if text else None
    return opinion.model_dump(include={"decision", "edited_text", "note"}) | {"stored": bool(opinion.stored)}
