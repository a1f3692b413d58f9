"""The packaged model as a service: reads a request, asks the predictor, writes the answer. No arithmetic.

The model's tag is a Bento argument, fixed when the Bento is built: a Bento serves one release and says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import bentoml
from pydantic import BaseModel, Field

from bentos import settings
from bentos.edge.body import BodyLimit
from bentos.edge.errors import OneForm, Unusable, log_failures_only
from bentos.edge.guard import Guard
from bentos.inputs import (
    MatchRequest,
    PicturesRequest,
    SearchRequest,
    TagRequest,
    TextsRequest,
    opened,
)
from entityclip.errors import ConfigError
from entityclip.layout import PackageLayout
from entityclip.predict import Predictor
from entityclip.records import Hit, IndexKind, ModelFacts, PackageCard, Record, Tag


class Arguments(BaseModel):
    """What ``bentos.package`` fixes in the Bento."""

    model: str = Field(default="entityclip-model:none", description="Tag of the BentoML model to serve.")


class Answer(Record):
    """Every answer names the release that gave it, so that feedback can be laid to its door."""

    release: str = Field(description="Version of the release that answered.", examples=["v1.0.0"])


class SearchAnswer(Answer):
    """Pictures or entities, best first."""

    hits: list[Hit]


class TagAnswer(Answer):
    """Entities that the picture may show, best first."""

    tags: list[Tag]


class MatchAnswer(Answer):
    """How well a text fits a picture."""

    score: float = Field(description="Cosine similarity, -1 to 1.", examples=[0.31])


class EmbedAnswer(Answer):
    """One unit vector per text or picture, in their order."""

    vectors: list[list[float]]


class AboutAnswer(PackageCard):
    """Which release is served, and what its model and indexes hold."""

    model: ModelFacts


@bentoml.service(
    name="EntityClip",
    workers=settings.WORKERS,
    threads=settings.THREADS,
    traffic={"timeout": settings.SECONDS},
)
class EntityClip:
    """Finds, tags and matches specific things in pictures.

    Every refusal is ``{"error": reason}``: 400 and 422 for what was asked, 401 and 403 for the key, 408, 413 and 415
    for the body, 429 and 503 with Retry-After where a limit is reached.
    """

    package = bentoml.models.BentoModel(bentoml.use_arguments(Arguments).model)

    def __init__(self) -> None:
        log_failures_only()
        package = PackageLayout(Path(self.package.path))
        self.card = PackageCard.model_validate_json(package.release.read_text())
        self.release = self.card.release.version
        self.predictor = Predictor.load(package.root)
        self.ready = self._finds_an_entity_of_its_own()

    def __is_ready__(self) -> bool:
        """For ``/readyz``."""
        return self.ready

    def _finds_an_entity_of_its_own(self) -> bool:
        """The whole way once: tower, index, names. It also spares the first caller the warming up."""
        entity = str(self.predictor.entities.rows["entity"].iloc[0])
        vectors = self.predictor.embed_texts([entity])
        hits = self.predictor.search(entity, k=1, of="entities")
        return len(vectors) == len(hits) == 1 and hits[0].exact

    @bentoml.api(input_spec=SearchRequest)
    def search(
        self,
        text: str | None,
        image: bytes | None,
        k: int,
        index: IndexKind,
        of: Literal["pictures", "entities"],
        rerank: int,
    ) -> SearchAnswer:
        """Pictures, or entities, by text, by picture, or by both together. A name or code in full comes first."""
        picture = None if image is None else opened(image)
        try:
            hits = self.predictor.search(text, picture, k=k, index=index, of=of, rerank=rerank)
        except ConfigError as error:  # a package without pictures cannot search them
            raise Unusable(str(error)) from None
        return SearchAnswer(release=self.release, hits=hits)

    @bentoml.api(input_spec=TagRequest)
    def tag(self, image: bytes, k: int, precision: float, rerank: int) -> TagAnswer:
        """The entities that a picture most likely shows, and which of them the model vouches for."""
        picture = opened(image)
        try:
            tags = self.predictor.tag(picture, k=k, precision=precision, rerank=rerank)
        except ConfigError as error:  # a precision that was never calibrated
            raise Unusable(str(error)) from None
        return TagAnswer(release=self.release, tags=tags)

    @bentoml.api(input_spec=MatchRequest)
    def match(self, image: bytes, text: str) -> MatchAnswer:
        """How well a text fits a picture."""
        return MatchAnswer(release=self.release, score=self.predictor.match(opened(image), text))

    @bentoml.api(input_spec=TextsRequest)
    def embed_texts(self, texts: list[str]) -> EmbedAnswer:
        """One unit vector per text."""
        return EmbedAnswer(release=self.release, vectors=self.predictor.embed_texts(texts).tolist())

    @bentoml.api(input_spec=PicturesRequest)
    def embed_images(self, images: list[bytes]) -> EmbedAnswer:
        """One unit vector per picture."""
        vectors = self.predictor.embed_images([opened(image) for image in images])
        return EmbedAnswer(release=self.release, vectors=vectors.tolist())

    @bentoml.api
    def about(self) -> AboutAnswer:
        """Release, data, rules and licences that stand behind the answers."""
        return AboutAnswer(**dict(self.card), model=self.predictor.about())


# What is decided before a request is read, the outermost first. The decorator made a Service of the class, which a
# type checker does not see.
cast(Any, EntityClip).add_asgi_middleware(OneForm)
cast(Any, EntityClip).add_asgi_middleware(
    Guard, state=settings.state(), at_once=settings.AT_ONCE, workers=settings.WORKERS
)
cast(Any, EntityClip).add_asgi_middleware(BodyLimit)
