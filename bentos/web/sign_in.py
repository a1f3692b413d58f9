"""Sign in with an API key, and out again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bentos.middleware.keys import Key, KeyFile
from bentos.middleware.sessions import COOKIE, PAGES, SECONDS, SIGN_IN, Sessions, is_foreign
from bentos.web.forms import read_form
from bentos.web.render import HEADERS, render
from entityclip.paths import StateLayout

HOME = f"{PAGES}/"


class Accounts:
    """Who may sign in, and the cookies of those who did.

    Args:
        state: State folder with keys and secret; None for pages without keys, where sign-in is refused.
    """

    def __init__(self, state: StateLayout | None) -> None:
        self._keys = None if state is None else KeyFile(state.keys)
        self._sessions = None if state is None else Sessions(state.sessions)

    def cookie(self, presented: str) -> str | None:
        """A cookie for the owner of a valid key with the scope ``query``; None for any other key."""
        key: Key | None = None if self._keys is None else self._keys.find(presented.strip())
        if key is None or self._sessions is None or "query" not in key.scopes:
            return None
        return self._sessions.issue(key.id)


async def page(request: Request) -> Response:
    """The form."""
    return _form(request)


async def submit(request: Request) -> Response:
    """Open a session for a valid key, as a cookie that no script reads and no other site sends."""
    accounts: Accounts = request.app.state.accounts
    if is_foreign(request.headers):
        return _form(request, problem="foreign", status=403)
    form = await read_form(request)
    cookie = accounts.cookie(form.fields.get("key", ""))
    if cookie is None:
        return _form(request, problem="key_wrong", status=403)
    answer = RedirectResponse(_local(request.query_params.get("next", "")), status_code=303, headers=HEADERS)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=SECONDS,
        path=PAGES,
        secure=request.headers.get("x-forwarded-proto", request.url.scheme).startswith("https"),
        httponly=True,
        samesite="strict",
    )
    return answer


async def sign_out(request: Request) -> Response:
    """End the session in this browser."""
    await read_form(request)
    answer = RedirectResponse(SIGN_IN, status_code=303, headers=HEADERS)
    answer.delete_cookie(COOKIE, path=PAGES, httponly=True, samesite="strict")
    return answer


def _form(request: Request, *, problem: str = "", status: int = 200) -> Response:
    target = _local(request.query_params.get("next", ""))
    hours = SECONDS // 3600
    return render(request, "sign_in.html.j2", status=status, problem=problem, target=target, hours=hours)


def _local(target: str) -> str:
    """The address if it is one of the pages, else the first page: a link must not lead to another site."""
    safe = target.startswith(HOME) and target.isprintable() and "\\" not in target
    return target if safe else HOME
