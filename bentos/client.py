"""Python client of the service, with typed requests and responses and automatic retries.

::

    with Client("http://127.0.0.1:3000", key="ec_...") as service:
        service.search("KX-204B", k=3).hits
        service.tag(Path("photo.jpg")).unknown
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from bentos.runtime.feedback import Verdict
from bentos.schemas.responses import (
    AboutAnswer,
    EmbedAnswer,
    EntityAnswer,
    FeedbackAnswer,
    MatchAnswer,
    ReleaseAnswer,
    SearchAnswer,
    TagAnswer,
)
from entityclip.errors import EntityClipError
from entityclip.schemas import EntityEntry, Filter, IndexKind, Record
from entityclip.schemas.labels import Read

Picture = bytes | Path
"""A picture file: its bytes or its path."""

Pictures = Picture | Sequence[Picture]
"""One picture, or several pictures of one thing."""

Answered = TypeVar("Answered", bound=Record)

LONGEST_WAIT = 10.0
"""Longest pause between two attempts in seconds, even if ``Retry-After`` is longer."""


class ServiceError(EntityClipError):
    """The service refused the request or could not be reached. ``status`` is None if there was no response."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Client of one service; safe to share between threads.

    Args:
        url: Base address, such as ``http://127.0.0.1:3000``.
        key: API key; None for a service on this machine without keys.
        tries: Most attempts per request if the service is busy (429, 503) or cannot be reached. All requests are
            idempotent, so that a retry stores nothing twice.
        seconds: Timeout of one attempt.
        transport: httpx transport; for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        tries: int = 4,
        seconds: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=seconds, transport=transport)
        self._tries = tries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # ------------------------------------------------------------ queries
    def search(
        self,
        text: str | None = None,
        image: Pictures | None = None,
        *,
        k: int = 10,
        index: IndexKind = "mixed",
        target: str = "pictures",
        rerank: int = 0,
        where: Filter | None = None,
    ) -> SearchAnswer:
        """Search pictures or entities (``target``) by text, by picture, or by both.

        The vectors of several pictures are averaged, here as in ``tag`` and ``match``.

        Raises:
            ServiceError: The service refused the request or did not respond. All methods raise it.
        """
        fields = {"text": text, "k": k, "index": index, "target": target, "rerank": rerank}
        fields |= {} if where is None else where.model_dump(mode="json")
        return self._post("/search", SearchAnswer, fields, {"image": _several(image)})

    def tag(
        self, image: Pictures, *, k: int = 5, precision: float = 0.9, rerank: int = 0, read: Read = False
    ) -> TagAnswer:
        """Entities that the picture shows; ``unknown`` is true if no tag reaches the calibrated threshold.

        With ``read`` the service also reads labels; ``reading`` in the answer has the text. "auto" answers without
        where the service has no reader, True is refused there.
        """
        fields = {"k": k, "precision": precision, "rerank": rerank, "read": read}
        return self._post("/tag", TagAnswer, fields, {"image": _several(image)})

    def match(self, image: Pictures, text: str) -> MatchAnswer:
        """How well a text fits a picture."""
        return self._post("/match", MatchAnswer, {"text": text}, {"image": _several(image)})

    def embed_texts(self, texts: Iterable[str]) -> EmbedAnswer:
        """One unit vector per text."""
        return self._post("/embed_texts", EmbedAnswer, {"texts": list(texts)}, {})

    def embed_images(self, images: Iterable[Picture]) -> EmbedAnswer:
        """One unit vector per picture."""
        return self._post("/embed_images", EmbedAnswer, {}, {"images": list(images)})

    def about(self) -> AboutAnswer:
        """Release, data, rules and licences of the served model."""
        return self._post("/about", AboutAnswer, {}, {})

    # ------------------------------------------------------------ changes
    def put(
        self,
        entry: EntityEntry,
        images: Iterable[Picture] = (),
        *,
        entity_id: str | None = None,
        keep_pictures: bool = True,
    ) -> str:
        """Add an entity, or replace the one with ``entity_id``. Returns its id; the next request finds it."""
        fields = entry.model_dump(mode="json") | {"entity_id": entity_id, "keep_pictures": keep_pictures}
        return self._post("/entities", EntityAnswer, fields, {"images": list(images)}).entity_id

    def remove(self, entity_id: str) -> None:
        """Remove an entity and its pictures."""
        self._post("/entities/remove", EntityAnswer, {"entity_id": entity_id}, {})

    def feedback(
        self,
        to: ReleaseAnswer,
        verdict: Verdict,
        *,
        entity_id: str | None = None,
        entity: str | None = None,
        text: str | None = None,
        image: Picture | None = None,
    ) -> str:
        """Report whether the answer ``to`` was right about an entity. Returns the id of the stored feedback."""
        fields = {"release": to.release, "verdict": verdict, "entity_id": entity_id, "entity": entity, "text": text}
        return self._post("/feedback", FeedbackAnswer, fields, {"image": image}).id

    # ------------------------------------------------------------ transport
    def _post(self, path: str, answer: type[Answered], fields: dict[str, Any], files: dict[str, Any]) -> Answered:
        """Send JSON, or a multipart form if there are pictures."""
        fields = {name: value for name, value in fields.items() if value is not None and value != []}
        pictures = [
            (name, ("picture", _content(one)))
            for name, some in files.items()
            for one in (some if isinstance(some, list) else [some])
            if one is not None
        ]
        request: dict[str, Any] = {"data": _form(fields), "files": pictures} if pictures else {"json": fields}
        response = self._with_retries(path, request)
        if response.status_code != 200:
            raise ServiceError(f"{path}: {_reason(response)}", status=response.status_code)
        return answer.model_validate_json(response.content)

    def _with_retries(self, path: str, request: dict[str, Any]) -> httpx.Response:
        for left in reversed(range(self._tries)):
            try:
                response = self._http.post(path, **request)
            except httpx.HTTPError as error:
                if not left:
                    raise ServiceError(f"{path}: no answer from {self._http.base_url}: {error!r}") from error
                time.sleep(min(LONGEST_WAIT, 0.25 * 2 ** (self._tries - left)))
                continue
            if response.status_code not in (429, 503) or not left:
                return response
            time.sleep(min(LONGEST_WAIT, float(response.headers.get("retry-after", "1"))))
        raise ServiceError(f"{path}: tries is {self._tries}; expected at least 1")


def _several(image: Pictures | None) -> list[Picture]:
    if image is None:
        return []
    return [image] if isinstance(image, bytes | Path) else list(image)


def _content(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else picture.read_bytes()


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    """Form fields: every value as text; a list becomes a repeated field."""
    return {name: _form_value(value) for name, value in fields.items()}


def _form_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_form_value(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(response: httpx.Response) -> str:
    try:
        return f"{response.status_code}: {response.json()['error']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}: {response.text[:200]}"
