"""Forms of the pages, as requests of the API."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bentos.middleware.errors import Unusable
from bentos.middleware.sessions import PAGES
from bentos.schemas.requests import LONGEST_TEXT, SearchRequest
from bentos.web.backend import HITS
from bentos.web.render import visitor_of
from entityclip.errors import faults

FILTERS = ("category", "tag", "language", "since", "until")


class SearchForm(NamedTuple):
    """A search as the form holds it, each field as it was typed."""

    words: str = ""
    filters: Mapping[str, str] = {}
    picture: bytes | None = None

    @property
    def empty(self) -> bool:
        """Neither words nor a photograph."""
        return not self.words and not self.picture

    @property
    def too_long(self) -> bool:
        """More words than the service takes."""
        return len(self.words) > LONGEST_TEXT

    @property
    def address(self) -> str:
        """Address of the same search, without the photograph."""
        fields = {"q": self.words, **self.filters}
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"{PAGES}/?{query}" if query else f"{PAGES}/"

    def request(self) -> SearchRequest:
        """The same as a request of the API.

        Raises:
            Unusable: A field is out of range, such as a date that is none.
        """
        fields: dict[str, Any] = {
            "text": self.words or None,
            "image": None if self.picture is None else [self.picture],
            "k": HITS,
            "target": "entities",
            "categories": _some(self.filters.get("category")),
            "tags": _some(self.filters.get("tag")),
            "languages": _some(self.filters.get("language")),
            "since": self.filters.get("since") or None,
            "until": self.filters.get("until") or None,
        }
        try:
            return SearchRequest.model_validate(fields)
        except ValidationError as error:
            raise Unusable(faults(error, whole="the form")) from None


def search_form(fields: Mapping[str, Any], picture: bytes | None = None) -> SearchForm:
    """The search in the fields of an address or of a form."""
    return SearchForm(
        words=str(fields.get("q", "")).strip(),
        filters={name: str(fields.get(name, "")).strip() for name in FILTERS},
        picture=picture or None,
    )


class SentForm(NamedTuple):
    """A form that was sent."""

    fields: dict[str, str]
    pictures: list[bytes]

    @property
    def picture(self) -> bytes | None:
        """The first photograph, or None."""
        return self.pictures[0] if self.pictures else None


async def read_form(request: Request, *, most_pictures: int = 1, most_fields: int = 20) -> SentForm:
    """The text fields and the photographs of a form; file fields that were left empty are left out.

    Raises:
        HTTPException: 400 for a body that is no form, 403 for a form that does not carry the token of the session.
    """
    async with request.form(max_files=most_pictures, max_fields=most_fields) as sent:
        fields = {name: value for name, value in sent.items() if isinstance(value, str)}
        files = [await value.read() for _, value in sent.multi_items() if isinstance(value, UploadFile)]
    visitor = visitor_of(request)
    if visitor is not None and not hmac.compare_digest(fields.get("token", "").encode(), visitor.token.encode()):
        raise HTTPException(403, "error_session")
    return SentForm(fields, [file for file in files if file])


def _some(value: str | None) -> list[str]:
    return [value] if value else []
