"""The packaged model: load once, then search, tag, match and embed. All arithmetic of the service stands here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from entityclip.errors import ConfigError
from entityclip.model import checkpoint, onnx_runtime
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import ChangesLayout, PackageLayout
from entityclip.retrieval import label_evidence, tagging
from entityclip.retrieval.index import (
    Catalog,
    Changes,
    EntityIndex,
    FullText,
    PictureIndex,
    ReleaseIndexes,
    Snapshot,
    TextMatches,
)
from entityclip.retrieval.index.query import QueryVectors
from entityclip.retrieval.index.ranking import Question, entity_hits, picture_hits, reranked_hits
from entityclip.retrieval.label_evidence import LabelMatches
from entityclip.retrieval.label_vocabulary import LabelVocabulary
from entityclip.retrieval.tagging import NEAREST, PRECISION, TAGS, Shown
from entityclip.retrieval.vectors import shares, unit
from entityclip.schemas import EntityEntry, Filter, Hit, IndexKind, Label, Match, ModelFacts, Runtime, Tag
from entityclip.schemas.answers import MOST_RERANKED

Pictures = Image.Image | Sequence[Image.Image]
"""One picture, or several pictures of one thing."""

Target = Literal["pictures", "entities"]
"""What a search gives."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with the indexes that it built, and what was changed since. Threads may share it."""

    model: LoadedModel
    entities: EntityIndex
    """Of the release; ``catalog`` knows what was changed since."""
    pictures: PictureIndex | None
    text: FullText | None = None
    """Names and full text of both; made in memory where there is none."""
    changes: Changes | None = None
    """Where entities are added, changed and removed; None where they cannot be."""
    runtime: Runtime = "torch"
    """What the towers run on."""
    vocabulary: LabelVocabulary | None = None
    """Words on the labels of the entities' own pictures; None where the package has none."""

    @classmethod
    def load(
        cls, folder: Path, *, changes: Path | None = None, device: str = "cpu", runtime: Runtime = "torch"
    ) -> Predictor:
        """Read a package: ``model.safetensors``, ``card.json``, ``index/entities/``, perhaps ``index/pictures/``.

        Args:
            folder: The package; nothing is written into it.
            changes: Folder that keeps what is added, changed and removed; one for all who serve a catalogue.
            device: Where the model runs.
            runtime: What pictures and texts of questions, and of changes, go through. The indexes are PyTorch's.

        Raises:
            CheckpointError: Weights, card or exported towers are missing or do not fit each other.
            ConfigError: ONNX Runtime is wanted and not installed.
            DataError: The entity index is missing, or an index is half-written or damaged.
            IndexMismatch: An index was built by another model.
        """
        package = PackageLayout(folder)
        model = onnx_runtime.on(
            runtime, checkpoint.load(package.checkpoint, device=device), package.checkpoint.exported
        )
        fingerprint, parts = model.card.fingerprint, model.card.parts
        entities = EntityIndex.load(package.entities, fingerprint=fingerprint, parts=parts)
        there = package.pictures.root.exists()
        pictures = PictureIndex.load(package.pictures, fingerprint=fingerprint, parts=parts) if there else None
        text = FullText.open(package.text) if package.text.exists() else None
        kept = None if changes is None else Changes(ChangesLayout(changes), fingerprint=fingerprint)
        vocabulary = LabelVocabulary.load(package.labels) if package.labels.exists() else None
        return cls(model, entities, pictures, text, kept, runtime, vocabulary)

    @cached_property
    def catalog(self) -> Catalog:
        """Everything that can be found."""
        rows = None if self.pictures is None else self.pictures.rows
        text = self.text or FullText.create(self.entities.rows, rows)
        return Catalog(self.model, ReleaseIndexes(self.entities, self.pictures), text=text, changes=self.changes)

    # ------------------------------------------------------------ changes
    def put_entity(
        self,
        entry: EntityEntry,
        pictures: Sequence[bytes] = (),
        *,
        entity_id: str | None = None,
        keep_pictures: bool = True,
        key: str = "",
    ) -> str:
        """Add an entity, or change one; see ``Catalog.put``. The next question finds it, here and elsewhere."""
        return self.catalog.put(entry, pictures=pictures, entity_id=entity_id, keep_pictures=keep_pictures, key=key)

    def remove_entity(self, entity_id: str, *, key: str = "") -> None:
        """Take an entity with its pictures out; see ``Catalog.remove``."""
        self.catalog.remove(entity_id, key=key)

    # ------------------------------------------------------------ search
    def search(
        self,
        text: str | None = None,
        image: Pictures | None = None,
        *,
        k: int = 10,
        index: IndexKind = "mixed",
        target: Target = "pictures",
        rerank: int = 0,
        where: Filter | None = None,
    ) -> list[Hit]:
        """The ``k`` pictures, or entities, most similar to a text, a picture, or both together.

        A text that is the very name or code of an entity stands for that entity: the query is its vector in
        ``index``, and hits of that entity come before all others. So do those of an entity whose code stands in the
        text; then those whose name or code is written almost like it, then names that hold all words of the text.

        Args:
            text: What is looked for.
            image: A picture of what is looked for, or several pictures of it, which are averaged.
            k: Hits wanted; there are fewer when the index holds fewer.
            index: Which of the entities' vectors is used. Weights and offsets of the mixed one are for pictures; a text
                is compared with caption and explanation in equal parts.
            target: What the hits are.
            rerank: So many of the first entities are judged once more by the matching head, which needs a picture.
            where: Which entities, and pictures of which, may be hits.

        Raises:
            ConfigError: Neither text nor picture is given; ``k``, ``index``, ``target`` or ``rerank`` is out of range;
                the package has no picture index; or ``rerank`` is set without a picture, or with ``target="pictures"``.
        """
        _require(k, index=index, target=target, rerank=rerank)
        pictures = _several(image)
        if rerank:
            _require_rerankable(text, pictures, target)
        if target == "pictures" and self.pictures is None and self.changes is None:
            raise ConfigError("this package has no picture index; ask for entities, or build it with one")
        snapshot = self.catalog.now()
        query = self._query(text, pictures, index=index, target=target, snapshot=snapshot)
        if rerank:
            similarities = snapshot.similarities(query, index, where)
            rows, match = tagging.best_entities(self.model, snapshot, similarities, pictures, k=k, rerank=rerank)
            return reranked_hits(snapshot, rows, similarities, match)
        words = TextMatches() if text is None else self.catalog.words(text, snapshot)
        question = Question(query, text or "", words, index, k, where)
        return entity_hits(snapshot, question) if target == "entities" else picture_hits(snapshot, question)

    def tag(
        self,
        image: Pictures,
        *,
        k: int = TAGS,
        index: IndexKind = "mixed",
        precision: float = PRECISION,
        rerank: int = 0,
        labels: Sequence[Label] = (),
    ) -> list[Tag]:
        """The ``k`` entities that a picture, or several pictures of one thing, most likely show, best first.

        ``above_threshold`` says that such tags were right with at least this ``precision`` on the validation pictures,
        in the mixed index, also where a fifth of the pictures showed nothing that is in the catalogue, and that at most
        a share of 1 - ``precision`` of those got such a tag. Where they could not prove that of any, no tag is above.
        The first ``rerank`` tags are put into order by the matching head as well, as far as the card gives it weight;
        their confidences stay.

        ``labels`` are what ``entityclip.data.labels.LabelReader`` has read on the pictures. Codes and names on them are
        looked up as a typed text is. An exact code ranks first, and is above the threshold if the entity is the most
        similar one as well; see ``label_evidence``.

        Raises:
            ConfigError: ``k``, ``index`` or ``rerank`` is impossible, or ``precision`` was not calibrated.
        """
        _require(k, index=index, rerank=rerank)
        bar = tagging.bar_of(self.model.card, precision) if index == "mixed" else None
        snapshot = self.catalog.now()
        shown = replace(self._shown(image), labels=self.printed(labels, snapshot))
        similarities = snapshot.similarities(QueryVectors(picture=shown.vector), index)
        return tagging.tags(self.model, snapshot, [similarities], [shown], k=k, bar=bar, rerank=rerank)[0]

    def similarity(self, image: Pictures, text: str) -> float:
        """Similarity of a picture and a text; an entity's name stands for the entity, and gives the score of its tag.

        Raises:
            ConfigError: The text is empty.
        """
        return self.match(image, text).score

    def match(self, image: Pictures, text: str) -> Match:
        """What ``/match`` answers: ``similarity``, its probability among all entities, and the evidence for it.

        A name is compared with the other entities in the mixed index; any other text with the entities' explanations,
        since a text is less similar to a picture than a photograph is.

        Raises:
            ConfigError: The text is empty.
        """
        _require_text(text)
        snapshot, shown = self.catalog.now(), self._shown(image)
        query, named = QueryVectors(picture=shown.vector), self.catalog.named(text, snapshot)
        similarities = snapshot.similarities(query, "mixed")
        if named:
            score, others = float(similarities[named].mean()), np.delete(similarities, named)
        else:
            score = float(shown.vector @ self.embed_texts([text])[0])
            others = snapshot.similarities(query, "explanation")
        among = np.append(others, np.float32(score))
        named_row = snapshot.rows(named).iloc[0] if named else None
        bar = tagging.bar_of(self.model.card, PRECISION)
        nearest = tagging.tags(self.model, snapshot, [similarities], [shown], k=NEAREST, bar=bar)[0]
        return Match(
            score=score,
            probability=shares(among, scale=self.model.scale)[-1],
            entity_id=None if named_row is None else named_row["entity_id"],
            explanation="" if named_row is None else named_row.get("explanation", ""),
            nearest=tuple(nearest),
        )

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts -> (N, D) float32 unit rows: the texts as they are, names too."""
        return self.model.embed_texts(texts)

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """N pictures -> (N, D) float32 unit rows."""
        return self.model.embed_images(images)

    def about(self) -> ModelFacts:
        """What was loaded."""
        card, snapshot = self.model.card, self.catalog.now()
        return ModelFacts(
            fingerprint=card.fingerprint,
            runtime=self.runtime,
            data_hash=card.data_hash,
            dimension=self.model.dim,
            entities=len(snapshot),
            pictures=snapshot.pictures,
            mixture=self.entities.mixture,
            thresholds=card.thresholds,
            open_set=card.open_set,
            rerank=card.rerank,
        )

    # ------------------------------------------------------------ queries
    def _query(
        self, text: str | None, pictures: Sequence[Image.Image], *, index: IndexKind, target: Target, snapshot: Snapshot
    ) -> QueryVectors:
        if text is None and not pictures:
            raise ConfigError("neither a text nor a picture; expected one of them, or both")
        picture = self._shown(pictures).vector if pictures else None
        return QueryVectors(picture, None if text is None else self._text_vector(text, index, target, snapshot))

    def _shown(self, image: Pictures) -> Shown:
        if not (pictures := _several(image)):
            raise ConfigError("no picture; expected one, or several of one thing")
        return Shown(pictures, unit(self.model.embed_images(pictures).mean(axis=0, keepdims=True))[0])

    def printed(self, labels: Sequence[Label], snapshot: Snapshot) -> LabelMatches:
        """What lines of text on a picture say about the entities of ``snapshot``."""
        return label_evidence.find(self.catalog, snapshot, labels, self.vocabulary)

    def _text_vector(self, text: str, index: IndexKind, target: Target, snapshot: Snapshot) -> np.ndarray:
        """(D,) unit vector: that of the entity with this name, or of the text itself.

        Other entities are compared with the named one's texts, pictures with its mixed vector.
        """
        _require_text(text)
        named = self.catalog.named(text, snapshot)
        if not named:
            return self.embed_texts([text])[0]
        texts: tuple[IndexKind, ...] = ("caption", "explanation")
        of = texts if index == "mixed" and target == "entities" else (index,)
        return unit(np.concatenate([snapshot.vectors(named, kind) for kind in of]).mean(axis=0, keepdims=True))[0]


def _several(image: Pictures | None) -> Sequence[Image.Image]:
    """The pictures, where one or none may be given."""
    if image is None:
        return ()
    return (image,) if isinstance(image, Image.Image) else image


def _require_text(text: str) -> None:
    if not text.strip():
        raise ConfigError("the text is empty; expected what to look for")


def _require_rerankable(text: str | None, pictures: Sequence[Image.Image], target: str) -> None:
    if text is not None or not pictures or target != "entities":
        # An index of pictures keeps one vector of each, too little to judge them again.
        raise ConfigError("re-ranking judges a picture against entities: query with a picture alone, and for entities")


def _require(k: int, *, index: str, target: str = "pictures", rerank: int = 0) -> None:
    if k < 1:
        raise ConfigError(f"k is {k}; expected at least 1")
    if not 0 <= rerank <= MOST_RERANKED:
        raise ConfigError(f"rerank is {rerank}; expected 0 to {MOST_RERANKED}")
    for name, value, known in (("index", index, get_args(IndexKind)), ("target", target, get_args(Target))):
        if value not in known:
            raise ConfigError(f"{name} {value!r} is unknown; expected one of {', '.join(known)}")
