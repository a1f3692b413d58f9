"""Access to a Prefect server: its auth string.

Without an auth string, a Prefect server runs any command for every user of the machine, and for every web page that is
open in a browser there.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

import httpx

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from entityclip.storage import atomic_path

SECONDS = 10.0
_SHAPE = re.compile(r"[A-Za-z0-9._-]+:[A-Za-z0-9._~-]{16,}")
"""USER:PASSWORD in ASCII; Prefect accepts no other form."""


# ---------------------------------------------------------------- the secret
def new_auth_string() -> str:
    """A new random ``USER:PASSWORD``."""
    return f"entityclip:{secrets.token_urlsafe(32)}"


def kept_auth_string(layout: Layout) -> str:
    """The auth string of this workspace's server, created on first use, in a file that only its owner can read.

    Raises:
        WorkspaceError: The file belongs to another user, can be read by others, or holds something else.
    """
    path = layout.prefect_auth
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_path(path, mode=0o600, replace=False) as new:  # keep the file of another process that was faster
            new.write_text(f"{new_auth_string()}\n")
    with path.open(encoding="utf-8", errors="replace") as file:
        facts, text = os.fstat(file.fileno()), file.read().strip()
    reason = ""
    if facts.st_uid != os.geteuid():
        reason = "belongs to another user"
    elif stat.S_IMODE(facts.st_mode) & 0o077:
        reason = "can be read by other users"
    elif not _SHAPE.fullmatch(text):
        reason = "holds no USER:PASSWORD with 16 or more letters and digits"
    if reason:
        down = f"entityclip down --workspace {layout.root}"
        remedy = f"{down}, delete the file, start again, which creates a new one"
        raise WorkspaceError(f"{path}: {reason}; {remedy}")
    return text


# ---------------------------------------------------------------- server and callers
def server_settings(auth_string: str, *, port: int) -> dict[str, str]:
    """Environment variables of a server that requires ``auth_string`` and accepts no page but its own."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": auth_string,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }


def status(api: str, *, auth_string: str | None = None, key: str | None = None) -> int | None:
    """HTTP status of the API for these credentials; None without an answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    user, _, password = (auth_string or "").partition(":")
    auth = httpx.BasicAuth(user, password) if auth_string else None
    try:
        return httpx.get(f"{api}/version", headers=headers, auth=auth, timeout=SECONDS).status_code
    except httpx.HTTPError:
        return None


def configured_status(api: str) -> int | None:
    """The same for this process's ``PREFECT_API_AUTH_STRING`` or ``PREFECT_API_KEY``."""
    from prefect.settings import get_current_settings

    mine = get_current_settings().api
    known = {"auth_string": mine.auth_string, "key": mine.key}
    return status(api, **{name: value.get_secret_value() for name, value in known.items() if value is not None})


def require_closed(layout: Layout, api: str, auth_string: str) -> None:
    """Check that the workspace's own server requires ``auth_string``.

    Raises:
        WorkspaceError: It is open, or it was started with another secret.
    """
    remedy = f"entityclip down --workspace {layout.root}, then start again"
    if status(api) == 200:
        raise WorkspaceError(f"{api}: the running server is open to every user of this machine; {remedy}")
    if status(api, auth_string=auth_string) in (401, 403):
        raise WorkspaceError(f"{api}: the running server refuses the secret in {layout.prefect_auth}; {remedy}")


def export_hint(path: Path) -> str:
    """How to give a command access."""
    return f'export PREFECT_API_AUTH_STRING="$(cat {path})"; `make up` names the file'


def require_access(api: str) -> None:
    """Check that a configured API does not refuse this process.

    Raises:
        WorkspaceError: It answers 401 or 403; names the variable that is missing or wrong.
    """
    answer = configured_status(api)
    if answer in (401, 403):
        raise WorkspaceError(f"{api}: answers {answer}; {export_hint(Layout(Path('DIR')).prefect_auth)}")
