"""What labels in a picture say about its entity: codes, names and words join the odds of the look.

A match multiplies the odds of its entity: ``ODDS`` to one against an entity that the look says nothing about. The look
counts as much as the open-set score of its first entity says that it is right. An exact code ranks first; everything
else takes its place by the resulting confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from entityclip.data.pairs import normalised
from entityclip.retrieval.index import Catalog, Snapshot, spelling
from entityclip.retrieval.label_vocabulary import LabelVocabulary
from entityclip.retrieval.vectors import best
from entityclip.schemas import Evidence, Label

Kind = Literal["code", "name", "near code", "near name"]

ODDS: Mapping[Kind, float] = {"code": 100.0, "name": 20.0, "near code": 10.0, "near name": 5.0}
"""Pictures of an entity to pictures of others, among those with its code or name on a label."""

DOUBT = 0.02
"""Sum of the doubts about a code's characters from which on the code counts as near, even if it is an exact one."""

SHORTEST_CODE = 5
"""Letters and digits from which on a code is enough evidence by itself; ``A4`` is printed on many things."""

CONTRADICTED = 0.1
"""Factor of the confidence of an entity where a label has another code, one of an entity or one that none has."""

HALF = 0.5
"""How much the look counts where no open-set rule was calibrated."""


@dataclass(frozen=True)
class LabelMatch:
    """An entity's code or name on a label."""

    label: Label
    kind: Kind
    odds: float
    """``ODDS`` of the kind, divided by the number of entities that the label fits equally well."""

    def evidence(self) -> Evidence:
        """The same, as an answer shows it."""
        by: Literal["label", "near label"] = "near label" if self.kind.startswith("near") else "label"
        return Evidence(by=by, text=self.label.text, box=self.label.box, picture=self.label.picture)


@dataclass(frozen=True, eq=False)
class WordRatios:
    """What words on labels say about each entity, by the words on its own pictures."""

    vocabulary: LabelVocabulary
    labels: Mapping[str, Label]
    """Word -> the label that has it."""
    ratios: np.ndarray
    """(M,) log likelihood ratios; 0 for an entity without words."""

    def evidence(self, entity_ids: Sequence[str]) -> list[Evidence | None]:
        """For each entity the label with the word that speaks most for it."""
        telling = self.vocabulary.telling(list(self.labels), entity_ids)
        labels = (self.labels.get(word) for word in telling)
        return [
            None if label is None else Evidence(by="label words", text=word, box=label.box, picture=label.picture)
            for word, label in zip(telling, labels, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class LabelMatches:
    """Everything that the labels of a picture say."""

    found: Mapping[int, LabelMatch] = field(default_factory=dict)
    """Number of an entity -> the match with the highest odds."""
    strange: frozenset[str] = frozenset()
    """Shapes (``aa999a``) of the codes that no entity has."""
    words: WordRatios | None = None
    """What the words say beside names and codes; None without a vocabulary."""

    def __bool__(self) -> bool:
        return bool(self.found or self.strange or self.words)

    def candidates(self, k: int) -> list[int]:
        """Entities with a name or code on a label, and the ``k`` whose words fit best."""
        likely = [] if self.words is None else best(self.words.ratios, k=k).tolist()
        return list(dict.fromkeys([*self.found, *likely]))

    @property
    def codes(self) -> list[int]:
        """Entities whose exact code is on a label."""
        return [entity for entity, match in self.found.items() if match.kind == "code"]


def find(
    catalog: Catalog, snapshot: Snapshot, labels: Sequence[Label], vocabulary: LabelVocabulary | None = None
) -> LabelMatches:
    """Look up what is printed as a typed text is looked up: codes inside the lines, and lines that are a whole name.

    Words are compared with ``vocabulary``, if there is one.
    """
    found: dict[int, LabelMatch] = {}
    strange: set[str] = set()
    for label in labels:
        matches = _matches(catalog, snapshot, label)
        for entity, match in matches.items():
            if entity not in found or match.odds > found[entity].odds:
                found[entity] = match
        if not matches and not _doubtful(label, label.text):
            strange |= {spelling.shape(code) for code in spelling.codes_in(label.text)}
    shapes = frozenset(shape for shape in strange if len(shape) >= SHORTEST_CODE)
    return LabelMatches(found, shapes, None if vocabulary is None else _words(vocabulary, snapshot, labels))


def _words(vocabulary: LabelVocabulary, snapshot: Snapshot, labels: Sequence[Label]) -> WordRatios | None:
    """The words' ratios; of entities that were changed in service the vocabulary says nothing."""
    words = {word: label for label in labels for word in spelling.words(label.text) if len(word) > 1}
    if not words or not vocabulary.factor:
        return None
    numbers = snapshot.released.entities.by_id.get_indexer(vocabulary.entities)
    there = numbers >= 0
    there[there] = ~snapshot.gone[numbers[there]]
    ratios = np.zeros(len(snapshot.gone) + len(snapshot.added.rows))
    ratios[numbers[there]] = vocabulary.ratios(words)[there]
    return WordRatios(vocabulary, words, ratios)


def _matches(catalog: Catalog, snapshot: Snapshot, label: Label) -> dict[int, LabelMatch]:
    """Entities whose name or code the line holds; only where there is none, those that it nearly holds."""
    kinds: dict[int, Kind] = {}
    for entity, spelt in catalog.printed(label.text, snapshot).items():
        code = _is_code(spelt)
        kinds[entity] = "name" if not code else "near code" if _doubtful(label, spelt) else "code"
    if not kinds:
        # A character that was surely read makes another code: slips are for names, and for unsure readings.
        misread = catalog.misread(label.text, snapshot, slips=_doubtful(label, label.text))
        kinds = {entity: "near code" if _is_code(spelt) else "near name" for entity, spelt in misread.items()}
    equal = {kind: sum(other == kind for other in kinds.values()) for kind in kinds.values()}
    return {entity: LabelMatch(label, kind, ODDS[kind] / equal[kind]) for entity, kind in kinds.items()}


def _is_code(spelt: str) -> bool:
    """Whether a name has digits, and enough characters to be evidence by itself."""
    return any(map(str.isdigit, spelt)) and len(spelling.key(spelt)) >= SHORTEST_CODE


def _doubtful(label: Label, spelt: str) -> bool:
    """Whether the reader may be unsure of one character: as much doubt as there is in the line, on one of them."""
    return len(normalised(spelt)) * (1 - label.confidence) > DOUBT


# ---------------------------------------------------------------- labels and look together
@dataclass(frozen=True, eq=False)
class VisualEvidence:
    """What the picture's vector says."""

    rows: np.ndarray
    """(k,) the tagged entities, best first, then others that labels name."""
    shares: np.ndarray
    """(M,) confidences; 0 for what cannot be found."""
    possible: np.ndarray
    """(M,) bool: what can be found."""
    known: float
    """Open-set score of the first entity; ``HALF`` without a rule."""
    above: np.ndarray
    """(k,) bool: which tags reach their thresholds."""


@dataclass(frozen=True, eq=False)
class WeighedTags:
    """What both say."""

    confidences: np.ndarray
    """(M,); less than 1 in sum where a label contradicts."""
    order: np.ndarray
    """(k,) places in ``VisualEvidence.rows``, best first."""
    above: np.ndarray
    """(k,) bool."""


def weigh(matches: LabelMatches, look: VisualEvidence, snapshot: Snapshot, *, least: float | None) -> WeighedTags:
    """Labels and look together.

    A tag is above its threshold if the look says so, its new confidence reaches ``least``, and no label contradicts it;
    or if its code alone is on a label and the look puts it first as well.

    Args:
        matches: What the labels say.
        look: What the look says.
        snapshot: Entities that can be found.
        least: Least confidence; None where nothing is calibrated, so that no tag is above.
    """
    codes = np.isin(look.rows, matches.codes)
    contradicted = _contradicted(matches, look.rows, snapshot)
    confidences = _fused(matches, look, look.rows[contradicted])
    above = look.above & ~contradicted & (confidences[look.rows] >= (np.inf if least is None else least))
    if least is not None and len(matches.codes) == 1:
        above[0] |= codes[0]  # the look's first: a label alone may be on a swapped carton
    return WeighedTags(confidences, _order(matches, look.rows, confidences[look.rows], codes), above)


def _contradicted(matches: LabelMatches, rows: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    """(k,) whether a label has the code of another entity, or a code of the same shape that no entity has."""
    codes = matches.codes
    if codes:
        return ~np.isin(rows, codes)
    if not matches.strange:
        return np.zeros(len(rows), bool)
    shapes = (set(map(spelling.shape, _names(row))) for row in snapshot.entity_rows(rows))
    other = np.array([not matches.strange.isdisjoint(theirs) for theirs in shapes], bool)
    return other & ~np.isin(rows, list(matches.found))


def _names(row: Mapping[str, object]) -> list[str]:
    aliases = row["aliases"]
    return [str(row["entity"]), *(map(str, aliases) if isinstance(aliases, list) else ())]


def prior(confidences: np.ndarray, possible: np.ndarray, *, known: float) -> np.ndarray:
    """(M,) what the look says before any label: its confidences, as far as its first tag is ``known`` to be right."""
    return known * confidences.astype(np.float64) + (1 - known) * possible / possible.sum()


def _fused(matches: LabelMatches, look: VisualEvidence, contradicted: np.ndarray) -> np.ndarray:
    """(M,) confidences after Bayes: the look's, and where labels match, times their odds."""
    weights = look.shares.astype(np.float64)
    if matches.found or matches.words:
        count = look.possible.sum()
        weights = prior(look.shares, look.possible, known=look.known)
        weights *= 1.0 if matches.words is None else np.exp(matches.words.ratios)
        odds = np.zeros(len(weights))
        for entity, match in matches.found.items():
            odds[entity] = match.odds
        weights *= 1 + count * odds
    total = weights.sum()
    weights[contradicted] *= CONTRADICTED
    return weights / total


def _order(matches: LabelMatches, rows: np.ndarray, confidences: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(k,) exact codes first, then what labels make likelier than all others; then the order of the look."""
    labelled = np.isin(rows, list(matches.found)) if matches.words is None else np.ones(len(rows), bool)
    front = codes | (labelled & (confidences > confidences[~labelled].max(initial=-1.0)))
    return np.lexsort((np.arange(len(rows)), np.where(front, -confidences, 0), front & ~codes, ~front))
