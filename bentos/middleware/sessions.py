"""Sessions of people in a browser: a signed cookie that stands for an API key on the pages, and nowhere else.

The cookie names the key and never contains its secret. Every request looks the key up again, so that a session ends
when its key is revoked or expires, at the latest after ``SECONDS``.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer
from starlette.datastructures import Headers

from bentos.middleware.keys import Key
from entityclip.errors import ConfigError
from entityclip.storage import PRIVATE_FILE, atomic_write, private_folder

PAGES = "/ui"
"""Path of the pages."""

SIGN_IN = f"{PAGES}/sign-in"

COOKIE = "entityclip_session"

SECONDS = 8 * 3600
"""A session ends after this time."""


VISITOR = "entityclip.visitor"
"""Key in the ASGI scope for the ``Visitor`` of a page."""


class Session(NamedTuple):
    """Content of a cookie."""

    key_id: str
    token: str
    """Random text that every form of the session carries, so that a foreign page cannot send one."""


class Visitor(NamedTuple):
    """Who requests a page."""

    key: Key
    token: str
    """Of the session; '' on a service without keys, which refuses foreign pages by their origin."""


class Sessions:
    """Makes and reads the cookies of all workers that share the secret at ``path``; made where there is none.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        secret = _secret(path)
        self._signer = URLSafeTimedSerializer(secret, salt="session")
        self._tokens = Signer(secret, salt="token")

    def issue(self, key_id: str) -> str:
        """Value of the cookie for the owner of a key."""
        return self._signer.dumps([key_id, secrets.token_urlsafe(16)])

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None where it was not issued here or is too old."""
        try:
            return Session(*self._signer.loads(cookie, max_age=SECONDS))
        except (BadSignature, TypeError):
            return None

    def token_of(self, key_id: str) -> str:
        """The token for the forms of a person who is signed on by a proxy, without a cookie."""
        return self._tokens.get_signature(key_id).decode()


def is_page(path: str) -> bool:
    """Whether a path belongs to the pages."""
    return path == PAGES or path.startswith(f"{PAGES}/")


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin sent the request from a browser."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _secret(path: Path) -> str:
    """The secret at ``path``; the first of several processes makes it."""
    private_folder(path.parent)
    with FileLock(path.with_name(f".{path.name}.lock")):
        try:
            if not path.exists():
                atomic_write(path, secrets.token_urlsafe(32), mode=PRIVATE_FILE)
            secret = path.read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{path}: the secret of the sessions cannot be used: {error}; delete the file") from None
    if len(secret) < 32:
        raise ConfigError(f"{path}: the secret of the sessions is too short; delete the file, and a new one is made")
    return secret
