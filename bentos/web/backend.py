"""What the pages need of the service. Searches and judgements go through the API's own methods and their checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from bentos.runtime.entities import (
    Changed,
    EntityFacts,
    changed_entities,
    entity_entry,
    entity_facts,
    entity_picture,
)
from bentos.schemas.requests import EntityRequest, FeedbackRequest, RemovalRequest, SearchRequest, TagRequest
from bentos.web.language import is_foreign_to
from entityclip.schemas import EntityEntry, Evidence, Hit, Reading, Tag
from entityclip.schemas.labels import Box

if TYPE_CHECKING:
    from bentos.runtime.loaded_release import LoadedRelease
    from entityclip.retrieval.index import Snapshot

HITS = 24
"""Products on a page of results."""

LABEL_WORDS = 12
"""Words of labels on a product's page."""

EXAMPLES = 8
"""Products that the empty page shows."""

MOST_CHOICES = 200
"""A filter with more values is a text field."""


class Card(NamedTuple):
    """One product among the results."""

    facts: EntityFacts
    picture: str | None
    """pair_id of the photograph to show: the nearest one where it can be shown."""
    score: float
    exact: bool
    near: bool
    why: tuple[Evidence, ...]
    confidence: float | None
    """Calibrated, 0 to 1; None without a photograph in the query, or beyond the 100 most likely products."""
    sure: bool
    """The confidence and the open-set score reach their thresholds."""


class Results(NamedTuple):
    """Answer to one search."""

    release: str
    cards: list[Card]
    unknown: bool | None
    """No product reaches the threshold; None without a photograph in the query."""
    written_in: tuple[str, ...] = ()
    """Languages of the release's texts, if the words are in another one and no name or code matches them."""
    reading: Reading | None = None
    """The text on the query's photograph; None without one."""

    @property
    def telling(self) -> set[Box]:
        """Places of the lines that speak for a product among the results."""
        return {evidence.box for card in self.cards for evidence in card.why if evidence.box is not None}


class Choices(NamedTuple):
    """What the results can be filtered by; None for too many values."""

    categories: list[str] | None
    tags: list[str] | None
    languages: list[str] | None
    dated: bool


class Backend:
    """The service as its pages see it; threads may share it.

    Args:
        service: The instance of ``bentos.service.EntityClip``.
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    @property
    def release(self) -> LoadedRelease:
        """The release that serves the next request."""
        champion: LoadedRelease = self._service.releases.champion
        return champion

    @property
    def keeps_feedback(self) -> bool:
        """Whether feedback can be stored."""
        return self._service.spool is not None

    # ------------------------------------------------------------ search
    def search(self, request: SearchRequest) -> Results:
        """The best products for a text, a photograph, or both.

        A photograph alone is tagged, which gives confidences; any other query is searched, and gets the confidences of
        its photograph beside. Where a reader is installed, labels on the photograph are read, within its deadline.

        Raises:
            BentoMLException: As the API.
        """
        if not request.image:
            answer = self._service.search.local(**dict(request))
            return self._found(answer, request, {}, unknown=None)
        tagged = self._service.tag.local(**dict(TagRequest(image=request.image, k=100, read="auto")))
        tags: dict[str, Tag] = {tag.entity_id: tag for tag in tagged.tags}
        if request.text is None and not _filtered(request):
            cards = self._cards(tagged.tags[:HITS], tags)
            return Results(tagged.release, cards, tagged.unknown, reading=tagged.reading)
        answer = self._service.search.local(**dict(request))
        return self._found(answer, request, tags, unknown=tagged.unknown)._replace(reading=tagged.reading)

    def _found(self, answer: Any, request: SearchRequest, tags: dict[str, Tag], *, unknown: bool | None) -> Results:
        cards = self._cards(answer.hits, tags)
        named = any(card.exact or card.near for card in cards)
        languages = () if named else tuple(self.choices().languages or ())
        foreign = is_foreign_to(request.text or "", languages)
        return Results(answer.release, cards, unknown, languages if foreign else ())

    def evidence(self, text: str, entity_id: str) -> tuple[Evidence, ...]:
        """Why a text finds a product; empty where the product is not among its 100 best.

        Raises:
            ConfigError: The text is empty.
        """
        hits = self.release.predictor.search(text, k=100, target="entities")
        return next((hit.why for hit in hits if hit.entity_id == entity_id), ())

    def _cards(self, hits: list[Hit] | list[Tag], tags: dict[str, Tag]) -> list[Card]:
        return [card for hit in hits if (card := self._card(hit, tags.get(hit.entity_id))) is not None]

    def _card(self, hit: Hit | Tag, tag: Tag | None) -> Card | None:
        facts = self.facts(hit.entity_id)
        if facts is None:  # removed since
            return None
        nearest = [evidence.pair_id for evidence in (*hit.why, *(tag.why if tag else ())) if evidence.pair_id]
        shown = next((pair_id for pair_id in (*nearest, *facts.shown) if pair_id in facts.shown), None)
        return Card(
            facts=facts,
            picture=shown,
            score=hit.score,
            exact=isinstance(hit, Hit) and hit.exact,
            near=isinstance(hit, Hit) and hit.near,
            why=hit.why if tag is None or tag is hit else (*hit.why, *(one for one in tag.why if one.box is not None)),
            confidence=None if tag is None else tag.confidence,
            sure=tag is not None and tag.above_threshold,
        )

    # ------------------------------------------------------------ catalogue
    def facts(self, entity_id: str) -> EntityFacts | None:
        """A product; None where there is none with this id."""
        return entity_facts(self.release.predictor, self.release.thumbnails, entity_id)

    def label_words(self, entity_id: str) -> list[str]:
        """Words on the product's own photographs, the ones that distinguish it best first; empty without a vocabulary.

        Of a product that was changed in service, the vocabulary says nothing.
        """
        predictor = self.release.predictor
        snapshot = predictor.catalog.now()
        if predictor.vocabulary is None or not snapshot.numbers([entity_id], added=False):
            return []
        return predictor.vocabulary.words_of(entity_id, most=LABEL_WORDS)

    def picture(self, entity_id: str, pair_id: str) -> bytes | None:
        """A small JPEG of a product's photograph; None where it cannot be shown."""
        return entity_picture(self.release.predictor, self.release.thumbnails, entity_id, pair_id)

    def examples(self) -> list[EntityFacts]:
        """Some products from all over the catalogue, those with a photograph to show first."""
        found = list(self._spread(self.release.predictor.catalog.now()))
        return sorted(found, key=lambda facts: not facts.shown)[:EXAMPLES]

    def _spread(self, snapshot: Snapshot) -> Iterator[EntityFacts]:
        ids = snapshot.released.entities.rows["entity_id"]
        step = max(1, len(ids) // (2 * EXAMPLES))
        yield from filter(None, map(self.facts, ids.iloc[: step * 2 * EXAMPLES : step]))

    def choices(self) -> Choices:
        """What the results can be filtered by."""
        snapshot = self.release.predictor.catalog.now()
        both = (snapshot.released.entities.facets, snapshot.added.facets)
        return Choices(
            categories=_sorted(*(facets.categories for facets in both)),
            tags=_sorted(*(facets.tags for facets in both)),
            languages=_sorted(*(facets.languages for facets in both)),
            dated=any(facets.dated for facets in both),
        )

    # ------------------------------------------------------------ changes
    @property
    def changeable(self) -> bool:
        """Whether products can be added, changed and removed."""
        return self.release.predictor.changes is not None

    def changed(self) -> Changed:
        """What was added, changed and removed in service."""
        return changed_entities(self.release.predictor, self.release.thumbnails)

    def entry(self, facts: EntityFacts) -> EntityEntry:
        """The texts of a product, to be changed."""
        return entity_entry(self.release.predictor, facts)

    def put(self, request: EntityRequest) -> str:
        """Add or change a product; returns its id.

        Raises:
            BentoMLException: As the API.
        """
        put: str = self._service.entities.local(**dict(request)).entity_id
        return put

    def remove(self, request: RemovalRequest) -> None:
        """Remove a product.

        Raises:
            BentoMLException: As the API.
        """
        self._service.remove_entity.local(**dict(request))

    # ------------------------------------------------------------ feedback
    def judge(self, request: FeedbackRequest) -> None:
        """Store a judgement.

        Raises:
            BentoMLException: As the API.
        """
        self._service.feedback.local(**dict(request))

    def named(self, name: str) -> str | None:
        """Id of the product with this name or code; None where there is none."""
        catalog = self.release.predictor.catalog
        snapshot = catalog.now()
        found = catalog.named(name, snapshot)
        return str(snapshot.rows(found[:1])["entity_id"].iloc[0]) if found else None


def _filtered(request: SearchRequest) -> bool:
    return any((request.categories, request.tags, request.languages, request.since, request.until))


def _sorted(*names: set[str]) -> list[str] | None:
    together = set().union(*names)
    return sorted(together) if len(together) <= MOST_CHOICES else None
