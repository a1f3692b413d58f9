"""The review pages: one item at a time, similar cases at once, what was decided last, and undo."""

from __future__ import annotations

import getpass
import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bentos.middleware.auth import LOCAL
from bentos.middleware.sessions import PAGES
from bentos.web.forms import read_form
from bentos.web.render import HEADERS, render, visitor_of
from entityclip.data.thumbnails import thumbnail
from entityclip.errors import AuditError, ConfigError, DataError, EntityClipError, ImageError
from entityclip.quality.review import PendingText
from flows.web.audit import Reviewer
from flows.web.desk import FEEDBACK, Answer, Desk
from flows.web.model_view import ModelAnswer, ModelView
from flows.web.outcome import ReviewItem

HOME = f"{PAGES}/review"
SIDE = 480
"""Longest side of a shown picture, pixels."""
PICTURE_SECONDS = 3600
MOST_SIMILAR = 200
"""Similar cases that one decision covers."""
MOST_FIELDS = MOST_SIMILAR + 20
SHORTEST_MARK = 3
LATEST = 50


class ShownItem(NamedTuple):
    """An item with what is shown beside it."""

    item: ReviewItem
    pictures: list[str]
    """Addresses."""
    marked: Markup
    similar: list[PendingText]
    answers: list[ModelAnswer]


def desk_of(request: Request) -> Desk:
    """The queue."""
    desk: Desk = request.app.state.desk
    return desk


def reviewer_of(request: Request) -> Reviewer:
    """The visitor, by the name of their key; without keys, the user of this machine."""
    visitor = visitor_of(request)
    assert visitor is not None  # the guard lets no one else in
    name = getpass.getuser() if visitor.key is LOCAL else visitor.key.name
    return Reviewer(name, visitor.key.id)


# ---------------------------------------------------------------- one item
async def page(request: Request) -> Response:
    """The item that the visitor holds or gets now; with ``?item=``, this item if no other reviewer holds it."""
    return await run_in_threadpool(_page, request)


def _page(request: Request, **problem: Any) -> Response:
    desk, reviewer, wanted = desk_of(request), reviewer_of(request), request.query_params.get("item")
    try:
        if wanted and desk.item(wanted) is not None and not desk.opinions.hold(reviewer.name, wanted):
            problem = problem or {"problem": "taken_by_other", "refusal": ""}
            wanted = None
        item = desk.item(wanted) if wanted else desk.next(reviewer)
        if wanted and item is None:
            raise HTTPException(404)
        shown = None if item is None else _shown(request, item, reviewer)
        values = {"shown": shown, "count": desk.count(), "pace": desk.pace(reviewer), **_aside(desk)}
    except DataError as error:
        return render(request, "error.html.j2", status=503, what="no_batch", reason=str(error))
    common = {"problem": "", "refusal": "", "done": _done(request)} | problem
    return render(request, "review.html.j2", status=422 if common["problem"] else 200, **values, **common)


def _done(request: Request) -> tuple[str, int] | None:
    """What the visitor did before: name and number of items, as the address says."""
    found = re.fullmatch(r"(accept|edit|reject|judge|skip|undo)-(\d{1,5})", request.query_params.get("done", ""))
    return (found[1], int(found[2])) if found and request.method == "GET" else None


def _shown(request: Request, item: ReviewItem, reviewer: Reviewer) -> ShownItem:
    desk, model = desk_of(request), request.app.state.model
    if item.claim is not None and item.claim.words:
        ids = desk.waiting.texts.pictures.of.get(item.claim.entity_id, [])
        return ShownItem(item, _addresses(ids), Markup(), [], model.of_text(item.claim.words))
    if item.claim is not None:
        addresses = [f"{HOME}/picture?{urlencode({'feedback': item.claim.picture})}"]
        return ShownItem(item, addresses, Markup(), [], _answers_of_picture(desk, model, item))
    assert item.text is not None
    ids = desk.waiting.texts.pictures.of.get(item.text.entity_id, [])
    if item.text.is_picture:
        own = item.text.explanation_id
        addresses = _addresses([own, *(pair_id for pair_id in ids if pair_id != own)])
        return ShownItem(item, addresses, marked(item.text), [], _answers_of_picture(desk, model, item))
    addresses = _addresses(ids)
    similar = [] if item.stored or item.opinions else desk.similar(item, reviewer)[:MOST_SIMILAR]
    return ShownItem(item, addresses, marked(item.text), similar, model.of_text(item.text.text))


def _addresses(pair_ids: list[str]) -> list[str]:
    return [f"{HOME}/picture?{urlencode({'id': pair_id})}" for pair_id in pair_ids]


def _answers_of_picture(desk: Desk, model: ModelView, item: ReviewItem) -> list[ModelAnswer]:
    try:
        return model.of_picture(_content(desk, item))
    except (OSError, ImageError):
        return []


def _content(desk: Desk, item: ReviewItem) -> bytes:
    """The file of the picture that the item is about."""
    if item.claim is not None:
        return desk.layout.feedback.picture(item.claim.picture).read_bytes()
    return desk.waiting.texts.pictures.read(item.id) or b""


def _aside(desk: Desk) -> dict[str, Any]:
    texts = desk.waiting.texts
    return {"pictures_aside": texts.pictures_aside, "notes": texts.rules}


def marked(text: PendingText) -> Markup:
    """The text with the values that broke a rule marked; everything else is escaped."""
    values = {broken.value for broken in text.broken if len(broken.value) >= SHORTEST_MARK}
    found = [re.escape(value) for value in sorted(values, key=len, reverse=True) if value in text.text]
    if not found:
        return escape(text.text)
    pieces = re.split(f"({'|'.join(found)})", text.text)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


async def decide(request: Request) -> Response:
    """Store a decision, then show the next item."""
    form = await read_form(request, most_fields=MOST_FIELDS)
    fields, desk, reviewer = form.fields, desk_of(request), reviewer_of(request)
    similar = [name.removeprefix("similar-") for name in fields if name.startswith("similar-")]
    text = "\n".join(fields.get("edited_text", "").splitlines()).strip()
    answer = Answer(
        decision=fields.get("decision", ""),
        edited_text=text if fields.get("decision") == "edit" else "",
        note=" ".join(fields.get("note", "").split()),
    )
    try:
        count = await run_in_threadpool(desk.decide, reviewer, [fields.get("item", ""), *similar], answer)
    except (ConfigError, DataError) as error:
        return await run_in_threadpool(_page, request, **problem_of(error))
    judged = fields.get("item", "").startswith(FEEDBACK)
    return _next(f"{'judge' if judged else answer.decision}-{count}")


async def skip(request: Request) -> Response:
    """Put the item behind all others of this visitor."""
    form = await read_form(request)
    try:
        await run_in_threadpool(desk_of(request).skip, reviewer_of(request), form.fields.get("item", ""))
    except DataError as error:
        return await run_in_threadpool(_page, request, **problem_of(error))
    return _next("skip-1")


async def undo(request: Request) -> Response:
    """Take back the visitor's last decision, and show its item again unless another reviewer holds it."""
    await read_form(request)
    try:
        count = await run_in_threadpool(desk_of(request).undo, reviewer_of(request))
    except (ConfigError, DataError) as error:
        return await run_in_threadpool(_page, request, **problem_of(error, otherwise="not_undone"))
    return _next(f"undo-{count}")


def problem_of(error: EntityClipError, *, otherwise: str = "not_stored") -> dict[str, str]:
    """What the page says of a change that failed, or of one that was made and is not in the audit log."""
    return {"problem": "not_logged" if isinstance(error, AuditError) else otherwise, "refusal": str(error)}


def _next(done: str) -> Response:
    return RedirectResponse(f"{HOME}?{urlencode({'done': done})}", status_code=303, headers=HEADERS)


# ---------------------------------------------------------------- similar cases, and what was decided
async def similar(request: Request) -> Response:
    """Similar cases of the item in the address, to decide about at once."""
    return await run_in_threadpool(_similar, request)


def _similar(request: Request) -> Response:
    desk, reviewer = desk_of(request), reviewer_of(request)
    try:
        item = desk.item(request.query_params.get("item", ""))
        if item is None or item.text is None:
            raise HTTPException(404)
        found = desk.similar(item, reviewer)
    except DataError as error:
        return render(request, "error.html.j2", status=503, what="no_batch", reason=str(error))
    pictures = desk.waiting.texts.pictures.of
    texts = [
        (text, marked(text), next(iter(_addresses(pictures.get(text.entity_id, []))), ""))
        for text in (item.text, *found[:MOST_SIMILAR])
    ]
    return render(request, "similar.html.j2", item=item, texts=texts, more=max(0, len(found) - MOST_SIMILAR))


async def decided(request: Request) -> Response:
    """The last decisions of all reviewers; a second reviewer can decide differently."""
    desk, reviewer = desk_of(request), reviewer_of(request)
    rows = await run_in_threadpool(_decided, desk)
    return render(request, "decided.html.j2", rows=rows, reviewer=reviewer.name)


def _decided(desk: Desk) -> list[tuple[Any, str, PendingText | None]]:
    """Opinion, name of the entity, and the text if its page can be opened; newest first."""
    try:
        texts = desk.waiting.texts.texts
    except DataError:
        texts = {}
    found: list[tuple[Any, str, PendingText | None]] = []
    for opinion in desk.opinions.latest(count=LATEST):
        text = texts.get(opinion.item)
        name = text.entity if text else _stored_name(opinion.stored)
        found.append((opinion, name, text))
    return found


def _stored_name(stored: str) -> str:
    return str(json.loads(stored)["entity"]) if stored else ""


# ---------------------------------------------------------------- pictures
async def picture(request: Request) -> Response:
    """A small copy of a picture of an entity in staging, or of a picture that came with feedback."""
    jpeg = await run_in_threadpool(_picture, desk_of(request), dict(request.query_params))
    if jpeg is None:
        raise HTTPException(404)
    headers = HEADERS | {"Cache-Control": f"private, max-age={PICTURE_SECONDS}"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


def _picture(desk: Desk, ids: dict[str, str]) -> bytes | None:
    try:
        if sha256 := ids.get("feedback"):
            known = re.fullmatch("[0-9a-f]{64}", sha256) is not None
            content = desk.layout.feedback.picture(sha256).read_bytes() if known else None
        else:
            content = desk.waiting.texts.pictures.read(ids.get("id", ""))
        return None if content is None else thumbnail(content, side=SIDE)
    except (OSError, DataError, ImageError):
        return None
