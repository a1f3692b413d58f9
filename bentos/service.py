"""The BentoML service: reads a request, calls the predictor, returns the response. It contains no arithmetic.

The model's tag is a Bento argument, fixed when the Bento is built. That release serves requests until you activate
another one.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import bentoml
from bentoml.exceptions import ServiceUnavailable
from pydantic import BaseModel, Field

from bentos import settings
from bentos.middleware import connections, sign_on
from bentos.middleware.auth import Guard, caller
from bentos.middleware.body import BodyLimit
from bentos.middleware.errors import ErrorFormat, Unusable, log_failures_only
from bentos.middleware.log_lines import protect_logs
from bentos.middleware.openapi import Description
from bentos.middleware.service import EdgeService
from bentos.middleware.sessions import PAGES
from bentos.runtime import metrics, metrics_folder
from bentos.runtime.feedback import Feedback, Spool, Verdict
from bentos.runtime.reading import Reader
from bentos.runtime.samples import Samples
from bentos.schemas.requests import (
    AboutRequest,
    EntityRequest,
    FeedbackRequest,
    MatchRequest,
    PicturesRequest,
    RemovalRequest,
    SearchRequest,
    TagRequest,
    TextsRequest,
)
from bentos.schemas.responses import (
    AboutAnswer,
    EmbedAnswer,
    EntityAnswer,
    FeedbackAnswer,
    MatchAnswer,
    SearchAnswer,
    TagAnswer,
)
from bentos.web.app import application
from bentos.web.backend import Backend
from bentos.web.refusals import PageErrors
from bentos.web.sign_in import Accounts
from entityclip.data import resources
from entityclip.data.images import strip_metadata
from entityclip.data.picture_memory import BUDGET, return_freed_pictures
from entityclip.errors import ConfigError, DataError, ImageError
from entityclip.schemas import EntityEntry, Filter, Hit, IndexKind, Tag
from entityclip.schemas.labels import Read

if TYPE_CHECKING:
    from bentos.runtime.loaded_release import Found, LoadedRelease

metrics_folder.use_own_folder()
connections.use()
pages = application()


class Arguments(BaseModel):
    """Bento arguments, set by ``bentos.build.package``."""

    model: str = Field(default="entityclip-model:none", description="Tag of the BentoML model to serve.")


@bentoml.service(
    name="EntityClip",
    service_class=EdgeService,
    workers=settings.WORKERS,
    threads=settings.MAX_CONCURRENCY,
    traffic={"timeout": settings.SECONDS},
    tracing={"excluded_urls": ".*"},  # spans cost time in every request, even without a collector
    logging={
        "access": {"request_content_type": False}
    },  # a content type that is not UTF-8 breaks the log line and the response
)
class EntityClip:
    """Finds, tags and matches specific things in pictures.

    Every error is ``{"error": reason}``: 400 and 422 for an unusable request, 401 and 403 for the key, 408, 413 and
    415 for the body, 429 and 503 with Retry-After if a limit is reached.
    """

    package = bentoml.models.BentoModel(bentoml.use_arguments(Arguments).model)

    def __init__(self) -> None:
        # Only a worker needs PyTorch: the processes that build a Bento and that start workers import this module too.
        import torch

        from bentos.runtime.releases import Releases

        protect_logs()
        log_failures_only()
        cores = max(1, resources.cores() // settings.WORKERS)
        return_freed_pictures()
        BUDGET.shrink(resources.memory() // (4 * settings.WORKERS))
        torch.set_num_threads(cores)  # more threads than cores are slower
        state = settings.state()
        self.releases = Releases(Path(self.package.path), state=state, decoders=cores)
        self.spool = None if state is None else Spool(state.feedback)
        self.samples = Samples(None if state is None else state.samples)
        self.reader = Reader(threads=cores, seconds=settings.READ_SECONDS)
        pages.state.backend, pages.state.accounts = Backend(self), Accounts(state)
        self.probing = ThreadPoolExecutor(1, "probe")  # separate from the threads of the requests
        gc.collect()
        gc.freeze()  # without it, a collection over libraries and model stops all requests for 0.3 seconds

    async def __is_ready__(self) -> bool:
        """For ``/readyz``: checks tower, index and names of the served release, without waiting for other requests."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.probing, lambda: self.releases.champion.ready())

    @bentoml.api(input_spec=SearchRequest)
    def search(
        self,
        text: str | None,
        image: list[bytes] | None,
        k: int,
        index: IndexKind,
        target: Literal["pictures", "entities"],
        rerank: int,
        categories: list[str],
        tags: list[str],
        languages: list[str],
        since: date | None,
        until: date | None,
    ) -> SearchAnswer:
        """Search pictures or entities by text, by picture, or by both. An exact name or code ranks first."""
        where = Filter(
            categories=tuple(categories), tags=tuple(tags), languages=tuple(languages), since=since, until=until
        )

        def query(loaded: LoadedRelease) -> list[Hit]:
            pictures = loaded.decode.all(image or [])
            return loaded.predictor.search(text, pictures, k=k, index=index, target=target, rerank=rerank, where=where)

        release, hits = self._query(query, stage="rank" if rerank else "search")
        self.samples.offer(release, pictures=image or [], text=text)
        return SearchAnswer(release=release.version, hits=hits)

    @bentoml.api(input_spec=TagRequest)
    def tag(self, image: list[bytes], k: int, precision: float, rerank: int, read: Read) -> TagAnswer:
        """Entities that a picture, or several pictures of one thing, most likely show. Each tag states whether it
        reaches the calibrated threshold. With ``read``, codes and names on labels count as well.
        """
        with explained():
            reading = self.reader.read(image, read=read)
        labels = () if reading is None else reading.labels

        def query(loaded: LoadedRelease) -> list[Tag]:
            pictures = loaded.decode.all(image)
            return loaded.predictor.tag(pictures, k=k, precision=precision, rerank=rerank, labels=labels)

        release, tags = self._query(query, stage="rank" if rerank else "search")
        self.samples.offer(release, pictures=image)
        unknown = not any(tag.above_threshold for tag in tags)
        metrics.tagged(unknown=unknown)
        return TagAnswer(release=release.version, unknown=unknown, tags=tags, reading=reading)

    @bentoml.api(input_spec=MatchRequest)
    def match(self, image: list[bytes], text: str) -> MatchAnswer:
        """How well a text fits a picture, or several pictures of one thing: similarity, probability and evidence."""
        release = self.releases.champion
        with explained(), metrics.timed("search"):
            match = release.predictor.match(release.decode.all(image), text)
        self.samples.offer(release, pictures=image, text=text)
        return MatchAnswer(release=release.version, **dict(match))

    @bentoml.api(input_spec=TextsRequest)
    def embed_texts(self, texts: list[str]) -> EmbedAnswer:
        """One unit vector per text."""
        release = self.releases.champion
        return EmbedAnswer(release=release.version, vectors=release.predictor.embed_texts(texts).tolist())

    @bentoml.api(input_spec=PicturesRequest)
    def embed_images(self, images: list[bytes]) -> EmbedAnswer:
        """One unit vector per picture."""
        release = self.releases.champion
        with explained():
            vectors = release.predictor.embed_images(release.decode.all(images))
        return EmbedAnswer(release=release.version, vectors=vectors.tolist())

    @bentoml.api(input_spec=EntityRequest)
    def entities(
        self,
        entity_id: str | None,
        images: list[bytes],
        keep_pictures: bool,
        **entry: Any,
    ) -> EntityAnswer:
        """Add an entity by text, by pictures, or by both, or replace the one with this id. No training is needed."""
        release = self.releases.champion
        with explained():
            put = release.predictor.put_entity(
                EntityEntry(**entry), images, entity_id=entity_id, keep_pictures=keep_pictures, key=caller.get()
            )
        return EntityAnswer(release=release.version, entity_id=put)

    @bentoml.api(route="/entities/remove", input_spec=RemovalRequest)
    def remove_entity(self, entity_id: str) -> EntityAnswer:
        """Remove an entity and its pictures, including an entity that came with the release."""
        release = self.releases.champion
        with explained():
            release.predictor.remove_entity(entity_id, key=caller.get())
        return EntityAnswer(release=release.version, entity_id=entity_id)

    @bentoml.api(input_spec=FeedbackRequest)
    def feedback(
        self,
        release: str,
        verdict: Verdict,
        entity_id: str | None,
        entity: str | None,
        text: str | None,
        image: bytes | None,
    ) -> FeedbackAnswer:
        """Store whether an answer was right, for the next data version. This release's answers do not change."""
        if self.spool is None:
            raise Unusable("this service stores no feedback; set ENTITYCLIP_STATE to a folder and restart it")
        judged_release = self.releases.answered_by(release)
        with explained():
            if image is not None:
                judged_release.decode(image)  # a picture that cannot be decoded is useless later
                image = strip_metadata(image)
            named = judged_release.name_of(entity_id) if entity_id else entity
        judged = Feedback(
            release=release,
            key=caller.get(),
            verdict=verdict,
            entity_id=entity_id or "",
            entity=named or "",
            text=text or "",
            picture=image or b"",
        )
        with explained():
            feedback_id = self.spool.put(judged)
        self.releases.judged(judged)
        return FeedbackAnswer(release=self.releases.champion.version, id=feedback_id)

    @bentoml.api(input_spec=AboutRequest)
    def about(self) -> AboutAnswer:
        """Release, data, rules and licences of the served model."""
        release = self.releases.champion
        return AboutAnswer(**dict(release.card), model=release.predictor.about(), behind=self.releases.behind)

    def _query(self, query: Callable[[LoadedRelease], Found], *, stage: metrics.Stage) -> tuple[LoadedRelease, Found]:
        with explained():
            return self.releases.query(query, stage=stage, caller=caller.get())


@contextmanager
def explained() -> Iterator[None]:
    """Map domain errors of the block to HTTP 422 and storage errors to 503."""
    try:
        yield
    except ImageError as error:
        raise Unusable(f"the picture cannot be used: {error.reason}") from None
    except ConfigError as error:
        raise Unusable(str(error)) from None
    except DataError as error:
        raise ServiceUnavailable(str(error)) from error


sign_on.from_environment()  # at the import: the server reads its trusted proxies before it builds the middleware

# The pages, and middleware, the outermost first. The decorator turns the class into a Service, which a type checker
# does not see.
cast(Any, EntityClip).mount_asgi_app(pages, path=PAGES)
cast(Any, EntityClip).add_asgi_middleware(PageErrors, keyed=settings.state() is not None)
cast(Any, EntityClip).add_asgi_middleware(ErrorFormat)
cast(Any, EntityClip).add_asgi_middleware(
    Guard,
    state=settings.state(),
    keyless=settings.keyless(),
    max_concurrency=settings.MAX_CONCURRENCY,
    workers=settings.WORKERS,
)
cast(Any, EntityClip).add_asgi_middleware(BodyLimit)
cast(Any, EntityClip).add_asgi_middleware(Description, service=EntityClip)
