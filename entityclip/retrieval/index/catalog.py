"""The catalogue behind a service: a release's indexes, and whatever is added, changed or removed while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.data.images import strip_metadata
from entityclip.errors import ConfigError, ImageError
from entityclip.model.checkpoint import LoadedModel
from entityclip.retrieval.index import spelling
from entityclip.retrieval.index.changes import TEXTS, Change, Changes, picture_id
from entityclip.retrieval.index.entities import ENTITY_COLUMNS, EntityIndex, as_read, slice_of
from entityclip.retrieval.index.fulltext import FullText, Named
from entityclip.retrieval.index.mixture import KINDS
from entityclip.retrieval.index.pictures import PictureIndex
from entityclip.retrieval.index.snapshot import ReleaseIndexes, Snapshot
from entityclip.retrieval.vectors import unit
from entityclip.schemas import EntityEntry, IndexKind

log = logging.getLogger("entityclip.catalog")

ADDED_PATH = "added"
"""Stands where a picture's file would be named."""


@dataclass(frozen=True)
class TextMatches:
    """What a text finds without a vector, as numbers of entities and pictures of one snapshot."""

    exact: dict[int, str] = field(default_factory=dict)
    """Entity -> its name or code that the text is or holds."""
    near: dict[int, str] = field(default_factory=dict)
    """Entity -> its name or code that the text nearly is or holds; only where nothing is exact."""
    named: frozenset[int] = frozenset()
    """Entities whose names hold every word of the text."""
    explained: frozenset[int] = frozenset()
    """Entities whose explanation does."""
    captioned: frozenset[str] = frozenset()
    """Pictures (pair_id) whose caption does, or the text that is printed on them."""
    printed: Mapping[str, str] = field(default_factory=dict)
    """Picture of the release (pair_id) -> the piece of the text on it that holds every word."""


@dataclass(frozen=True, eq=False)
class _Published:
    """What can be found, and the change up to which that holds. Replaced whole, so that no reader sees one alone."""

    number: int
    states: Mapping[str, Change]
    """entity_id -> its last state, of everything that was changed."""
    snapshot: Snapshot


class Catalog:
    """Entities and pictures, the released ones and those that changed since; threads may share it.

    Args:
        model: The model that made the indexes.
        released: Its indexes.
        text: Names and full text of the release.
        changes: Where changes are kept; None where nothing may be changed.
    """

    def __init__(
        self, model: LoadedModel, released: ReleaseIndexes, *, text: FullText, changes: Changes | None
    ) -> None:
        self._model, self._released, self._text, self._changes = model, released, text, changes
        self._lock = threading.Lock()
        self._published = _Published(0, {}, self._overlaid({}))

    # ------------------------------------------------------------ queries
    def now(self) -> Snapshot:
        """What can be found now: every change that any process has finished."""
        changes, published = self._changes, self._published
        if changes is None or changes.number() == published.number:
            return published.snapshot
        with self._lock:
            self._published = self._refreshed(self._published, changes)
            return self._published.snapshot

    def _refreshed(self, before: _Published, changes: Changes) -> _Published:
        """``before`` with every change since. An error leaves ``before`` in place, and the next request tries again."""
        changed = [self._embedded(change, changes) for change in changes.since(before.number, dim=self._model.dim)]
        if not changed:
            return before  # another thread has read them
        states = {**before.states, **{change.entity_id: change for change in changed}}
        return _Published(changed[-1].number, states, self._overlaid(states))

    def named(self, text: str, snapshot: Snapshot) -> list[int]:
        """Entities whose name or code ``text`` is, but for case, width and outer space."""
        found = self._numbered(snapshot, lambda texts: texts.named(text))
        return [number for number, spelt in found.items() if pairs.normalised(spelt) == pairs.normalised(text)]

    def words(self, text: str, snapshot: Snapshot) -> TextMatches:
        """Names, codes, texts and captions that hold ``text``."""
        exact = self._numbered(snapshot, lambda found: found.named(text))
        near = {} if exact else self._numbered(snapshot, lambda found: found.nearly(text))
        names, _ = self._holding(snapshot, text, "names")
        explained, captioned = self._holding(snapshot, text, "texts")
        return TextMatches(exact, near, names, explained, captioned, self._printed_on(captioned, text))

    def _printed_on(self, pictures: frozenset[str], text: str) -> dict[str, str]:
        """The pictures on which every word of ``text`` is printed -> that piece."""
        wanted = spelling.query_words(text)
        found = ((pair_id, spelling.piece(on, wanted)) for pair_id, on in self._text.labels(pictures).items())
        return {pair_id: piece for pair_id, piece in found if piece is not None}

    def printed(self, line: str, snapshot: Snapshot) -> dict[int, str]:
        """Entities whose name or code is in a line that is printed on a picture -> that name."""
        return self._numbered(snapshot, lambda found: found.printed(line))

    def misread(self, line: str, snapshot: Snapshot, *, slips: bool) -> dict[int, str]:
        """Entities whose name or code a reader may have taken for the line -> that name; see ``FullText.misread``."""
        return self._numbered(snapshot, lambda found: found.misread(line, slips=slips))

    def _texts(self) -> Iterator[tuple[FullText, bool]]:
        """Both full texts, and whether it is that of the changes."""
        yield self._text, False
        if self._changes is not None:
            yield self._changes.text, True

    def _numbered(self, snapshot: Snapshot, ask: Callable[[FullText], list[Named]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for text, added in self._texts():
            for name in ask(text):
                for number in snapshot.numbers([name.entity_id], added=added):
                    found.setdefault(number, name.spelt)
        return found

    def _holding(
        self, snapshot: Snapshot, query: str, column: Literal["names", "texts"]
    ) -> tuple[frozenset[int], frozenset[str]]:
        entities: list[int] = []
        captioned: list[str] = []
        for text, added in self._texts():
            found = text.holding(query, column=column)
            entities += snapshot.numbers([entity for entity, picture in found if not picture], added=added)
            captioned += [picture for _, picture in found if picture]
        return frozenset(entities), frozenset(captioned)

    # ------------------------------------------------------------ changing
    def put(
        self,
        entry: EntityEntry,
        *,
        pictures: Sequence[bytes] = (),
        entity_id: str | None = None,
        keep_pictures: bool = True,
        key: str = "",
    ) -> str:
        """Add an entity, or change the one with this id; the next query finds it, in every process.

        Args:
            entry: Its texts; they take the place of all that was known.
            pictures: Files' bytes, beside those that it has; kept without their metadata.
            entity_id: Which one is changed; None makes the id from the name, as a release does.
            keep_pictures: False to give up the pictures that it has.
            key: Id of the API key of the person who does it.

        Returns:
            The entity's id.

        Raises:
            ConfigError: Nothing can be changed here, or it would have too many pictures.
            ImageError: A picture cannot be used; then nothing is changed.
            DataError: The change cannot be written.
        """
        changes = self._changeable()
        entity_id = entity_id or pairs.entity_id(entry.entity)
        pictures = [strip_metadata(picture) for picture in pictures]
        vectors = {TEXTS: self._texts_seen(entry)} | self._pictures_seen(
            {picture_id(entity_id, picture): picture for picture in pictures}
        )
        changes.put(entity_id, entry, pictures=pictures, keep_pictures=keep_pictures, vectors=vectors, key=key)
        return entity_id

    def remove(self, entity_id: str, *, key: str = "") -> None:
        """Take an entity with its pictures out; ``key`` as of ``put``.

        Raises:
            ConfigError: Nothing can be changed here, or there is no such entity.
            DataError: The change cannot be written.
        """
        changes, snapshot = self._changeable(), self.now()
        if snapshot.number_of(entity_id) is None:
            raise ConfigError(f"entity {entity_id}: there is none with this id; it may be removed already")
        changes.remove(entity_id, key=key)

    def _changeable(self) -> Changes:
        if self._changes is None:
            raise ConfigError("entities cannot be changed here: no folder was named in which changes are kept")
        return self._changes

    # ------------------------------------------------------------ embedding
    def _texts_seen(self, entry: EntityEntry) -> np.ndarray:
        """(2, D) vectors of name and explanations; the name's twice where there is no explanation."""
        names = [(entry.entity, *entry.aliases)] * len(entry.explanations)
        texts = as_read(self._model, entry.explanations, names=names)
        seen = self._model.embed_texts([entry.entity, *texts])
        explained = unit(seen[1:].mean(axis=0, keepdims=True))[0] if texts else seen[0]
        return np.stack([seen[0], explained])

    def _pictures_seen(self, pictures: dict[str, bytes]) -> dict[str, np.ndarray]:
        """Picture id -> (1, D) vector."""
        seen = self._model.embed_squares(map(self._model.card.preprocessing.square_of, pictures.values()))
        return dict(zip(pictures, seen[:, None], strict=True))

    def _embedded(self, change: Change, changes: Changes) -> Change:
        """``change`` with all of its vectors; those that are missing or were made by another model are made once.

        A stored picture that can no longer be opened is left out: it must not stop every request that comes.
        """
        if change.entry is None or change.embedded:
            return change
        vectors: dict[str, np.ndarray] = {}
        for pair_id, data in changes.pictures(change.entity_id).items():
            if pair_id not in change.vectors:
                try:
                    vectors |= self._pictures_seen({pair_id: data})
                except ImageError as error:
                    log.error("entity %s: stored picture %s is left out: %s", change.entity_id, pair_id, error)
        if TEXTS not in change.vectors:
            vectors[TEXTS] = self._texts_seen(change.entry)
        changes.keep(change, vectors)
        known = {**change.vectors, **vectors}
        return replace(change, vectors=known, pictures=tuple(i for i in change.pictures if i in known))

    # ------------------------------------------------------------ what a later release has
    def awaits_data(self, entity_id: str) -> bool:
        """Whether the data of the release lack the name or a picture of an entity that was added or changed."""
        state = self._published.states.get(entity_id)
        if state is None or state.entry is None:
            return False
        row, entities = self._released.entities.row_of(entity_id), self._released.entities.rows
        if row is None or entities["entity"].iloc[row] != state.entry.entity:
            return True
        return len(self._of_release(state)) < len(state.pictures)

    def _of_release(self, state: Change) -> set[str]:
        """Ids of the added pictures that became rows of the release's data."""
        assert state.entry is not None
        name, found = state.entry.entity, set()
        for added in state.pictures:
            sha256 = state.hashes.get(added, "")
            if len(self._released.pictures_named([pairs.pair_id(sha256, name, name)])):
                found.add(added)
        return found

    def _unreleased(self, state: Change) -> Change:
        """The state without the pictures that the release has as its own, so that each counts once."""
        known = self._of_release(state) if state.keeps_released and state.hashes else set()
        return replace(state, pictures=tuple(i for i in state.pictures if i not in known)) if known else state

    # ------------------------------------------------------------ the snapshot
    def _overlaid(self, states: Mapping[str, Change]) -> Snapshot:
        """The release with the state of every changed entity over it."""
        released = self._released
        there = [self._unreleased(state) for state in states.values() if state.entry is not None]
        old = released.entities.by_id.get_indexer(pd.Index(list(states), dtype="str"))
        gone = np.zeros(len(released.entities.rows), dtype=bool)
        gone[old[old >= 0]] = True
        owner, gone_pictures = released.owner.copy(), np.zeros(len(released.owner), dtype=bool)
        numbers = {state.entity_id: len(gone) + row for row, state in enumerate(there)}
        for state, row in zip(states.values(), old.tolist(), strict=True):
            if row >= 0:
                theirs = released.pictures_of(np.array([row]))
                owner[theirs] = numbers.get(state.entity_id, -1)
                gone_pictures[theirs] = not state.keeps_released
        added = added_entities(there, released.entities)
        pictures, owners = added_pictures(there, released.entities.fingerprint, dim=self._model.dim)
        owner = np.concatenate([owner, owners + len(gone)]).astype(np.int32)
        return Snapshot(released, added, pictures, gone, gone_pictures, owner)


def added_entities(states: Sequence[Change], released: EntityIndex) -> EntityIndex:
    """The changed entities as an index; one that the release knows stays in its slice, and its pictures count."""
    rows = pd.DataFrame([_row(state, released) for state in states], columns=ENTITY_COLUMNS)
    seen = [np.stack([*state.vectors[TEXTS], _images(state, released)]) for state in states]
    parts = np.stack([np.zeros((len(KINDS), released.dim), np.float32), *seen])[1:]
    vectors: dict[IndexKind, np.ndarray] = {kind: parts[:, i] for i, kind in enumerate(KINDS)}
    return EntityIndex(released.fingerprint, rows, vectors, {}).remixed(released.mixture)


def _images(state: Change, known: EntityIndex) -> np.ndarray:
    """(D,) unit mean of the entity's pictures, those of the release and those that were added."""
    old = known.row_of(state.entity_id) if state.keeps_released else None
    total = np.zeros(known.dim, np.float32)
    if old is not None:
        total += known.rows["pictures"].iloc[old] * known.vectors["images"][old]
    return unit(sum((state.vectors[pair_id] for pair_id in state.pictures), total[None]))[0]


def _row(state: Change, known: EntityIndex) -> dict[str, Any]:
    """The entity's row of an index."""
    entry = state.entry
    assert entry is not None
    old = known.row_of(state.entity_id)
    trained, pictures = (0, 0) if old is None else known.rows[["train_pictures", "pictures"]].iloc[old].astype(int)
    return {
        "entity_id": state.entity_id,
        "entity": entry.entity,
        "aliases": list(entry.aliases),
        "category": entry.category or "",
        "language": entry.language,
        "tags": list(entry.tags),
        "date": "" if entry.date is None else entry.date.isoformat(),
        "train_pictures": trained,
        "slice": slice_of(trained),
        "pictures": len(state.pictures) + (pictures if state.keeps_released else 0),
        "has_explanation": bool(entry.explanations),
        "explanation": entry.explanations[0] if entry.explanations else "",
    }


def added_pictures(states: Sequence[Change], fingerprint: str, *, dim: int) -> tuple[PictureIndex, np.ndarray]:
    """The pictures of the changed entities as an index, and for each the place of its entity in ``states``."""
    rows, vectors, owners = [], [np.zeros((0, dim), np.float32)], []
    for place, state in enumerate(states):
        for pair_id in state.pictures:
            caption = "" if state.entry is None else state.entry.entity
            rows.append({"pair_id": pair_id, "caption": caption, "path": ADDED_PATH})
            vectors.append(state.vectors[pair_id])
            owners.append(place)
    frame = pd.DataFrame(rows, columns=["pair_id", "caption", "path"])
    return PictureIndex(fingerprint, frame, np.concatenate(vectors)), np.array(owners, np.int32)
