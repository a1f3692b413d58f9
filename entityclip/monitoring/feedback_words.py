"""Which words that people searched for become another name of an entity, and which need a second opinion."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from entityclip.data import pairs
from entityclip.data.erasure import Erasure
from entityclip.data.sources.other_names import OTHER_NAME, OtherName
from entityclip.explanations.pii import redact
from entityclip.monitoring.feedback import FeedbackPolicy, JudgedRow
from entityclip.monitoring.feedback_pictures import Doubt, DoubtfulClaim
from entityclip.paths import DataLayout
from entityclip.quality.patterns import first_hits

LONGEST = 100
"""Characters of words that can become a name."""

LEAST_KEYS = 2
"""API keys that must agree: one person's words never enter the data on that person's word alone."""

_PERSONAL = {"email", "phone"}
_REFUSED = ("injected", "placeholder", "url", "markup", "control")


# ---------------------------------------------------------------- which words are kept
class WordRules:
    """Decides which words are kept to become another name of an entity.

    A name has to tell its entity from all others: words that a text of the data has, or the name of another entity, do
    not. As a name they would hide those words in the texts of their own entity from training, and the gate would take
    texts of other entities for swapped ones.

    Args:
        data: The current data version; read when the first words arrive.
        erasures: Requests that name what must not come back.
    """

    def __init__(self, data: DataLayout, erasures: Sequence[Erasure]) -> None:
        self._data, self._erasures = data, erasures

    def why_not_kept(self, words: str, entity_id: str) -> str:
        """The reason why these words cannot become a name of this entity; '' where they can.

        Raises:
            DataError: The data are damaged.
        """
        if len(words) > LONGEST:
            return f"more than {LONGEST} characters"
        hits = {name for name, found in first_hits(pa.array([pairs.normalised(words)])).items() if found[0].is_valid}
        if hits & _PERSONAL or redact(words, language="").counts:
            return "the words hold personal data"
        if any(erasure.holds("text", words) for erasure in self._erasures):
            return "the words were erased at a request"
        if broken := next((name for name in _REFUSED if name in hits), ""):
            return f"the words break the rule {broken} of the gate"
        if self._in_the_data(pairs.normalised(words), entity_id):
            return "the data have these words: in a text, or in the name of another entity"
        return ""

    def _in_the_data(self, words: str, entity_id: str) -> bool:
        names, owners = self._names
        named = pc.and_(_hold(names, words), pc.not_equal(owners, entity_id))
        return bool(pc.any(named).as_py() or pc.any(_hold(self._texts, words)).as_py())

    @cached_property
    def _names(self) -> tuple[pa.Array, pa.Array]:
        """Normalised names, other names and codes, each with its entity_id."""
        rows = pairs.read_frame(self._data.entities, columns=["entity_id", "entity", "aliases"])
        found = [
            (pairs.normalised(name), entity_id)
            for entity_id, entity, aliases in rows.itertuples(index=False, name=None)
            for name in (entity, *(() if aliases is None else aliases))
        ]
        return pa.array([name for name, _ in found], pa.string()), pa.array([owner for _, owner in found], pa.string())

    @cached_property
    def _texts(self) -> pa.Array:
        """Normalised explanations and captions."""
        tables = ((self._data.explanations, "text"), (self._data.pairs, "caption"))
        texts = {text for folder, column in tables for text in pairs.read_frame(folder, columns=[column])[column]}
        return pa.array([pairs.normalised(text) for text in texts if text], pa.string())


def _hold(texts: pa.Array, words: str) -> pa.Array:
    """(N,) bool: which normalised texts hold these words; Latin ones as whole words."""
    if words.isascii():
        return pc.match_substring_regex(texts, rf"(?:^|\W){re.escape(words)}(?:\W|$)")
    return pc.match_substring(texts, words)


# ---------------------------------------------------------------- what people agree on
def accepted_names(
    rows: Iterable[JudgedRow], *, policy: FeedbackPolicy, names: Mapping[str, str] | None = None
) -> list[OtherName]:
    """Words that become another name of an entity, in the order of their first judgement; none if none are kept.

    Somebody has to have missed the entity among the results; at least ``LEAST_KEYS`` callers, and as many as the policy
    requires, have to say that the words mean it, and more than deny it. Words that are so claimed for two entities name
    neither. Of one caller's judgements about the same words and entity the last one holds. ``names`` is as for
    ``accepted_images``.
    """
    claims = _claims(rows) if policy.keep_words else {}
    sure = {pair: judged for pair, judged in claims.items() if _suffices(judged, policy)}
    claimed = Counter(words for words, _ in sure)
    return [_named(judged, names or {}) for (words, _), judged in sure.items() if claimed[words] == 1]


def doubtful_names(rows: Iterable[JudgedRow], *, policy: FeedbackPolicy) -> list[DoubtfulClaim]:
    """Words that a second opinion decides, in the order of their first judgement; see ``accepted_names``.

    Claims that more callers deny than support are refused already, and are not among them.
    """
    claims = _claims(rows) if policy.keep_words else {}
    supported = Counter(words for (words, _), judged in claims.items() if _right(judged) > _wrong(judged))
    found = []
    for (words, entity_id), judged in claims.items():
        right, wrong = _right(judged), _wrong(judged)
        rivals = supported[words] > 1
        if right and right >= wrong and (rivals or not _suffices(judged, policy)):
            doubt: Doubt = "contradicted" if right == wrong else "two_entities" if rivals else "few"
            about = {"entity_id": entity_id, "entity": judged[-1].entity, "release": judged[-1].release}
            claim = {"picture": "", "words": judged[0].words, "right": right, "wrong": wrong, "doubt": doubt}
            found.append(DoubtfulClaim.model_validate(about | claim))
    return found


def _claims(rows: Iterable[JudgedRow]) -> dict[tuple[str, str], list[JudgedRow]]:
    """(Normalised words, entity_id) -> the last judgement of each caller, where one of them missed the entity once."""
    missed: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], dict[str, JudgedRow]] = {}
    for row in rows:
        if row.words and not row.unusable:
            pair = pairs.normalised(row.words), row.entity_id
            last.setdefault(pair, {})[row.key] = row
            if row.verdict == "missing":
                missed.add(pair)
    return {pair: list(judged.values()) for pair, judged in last.items() if pair in missed}


def _suffices(judged: Sequence[JudgedRow], policy: FeedbackPolicy) -> bool:
    right = _right(judged)
    return right >= max(LEAST_KEYS, policy.min_agreeing_keys) and right > _wrong(judged)


def _right(judged: Sequence[JudgedRow]) -> int:
    return sum(row.verdict != "wrong" for row in judged)


def _wrong(judged: Sequence[JudgedRow]) -> int:
    return len(judged) - _right(judged)


def _named(judged: Sequence[JudgedRow], names: Mapping[str, str]) -> OtherName:
    """The name, with who agreed and when the last of them did."""
    agreed = [row for row in judged if row.verdict != "wrong"]
    return OtherName(
        entity_id=judged[0].entity_id,
        entity=judged[-1].entity,
        words=judged[0].words,
        callers=len(agreed),
        person=", ".join(sorted({names.get(row.key, row.key) for row in agreed} - {""})),
        day=max(row.day for row in agreed).isoformat(),
        reason=OTHER_NAME,
    )
