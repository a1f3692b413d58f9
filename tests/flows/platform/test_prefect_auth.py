"""The secret of a workspace's Prefect server: one for all processes, in a file that only its owner can read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.platform.prefect_auth import kept_auth_string, require_access, require_closed


def test_eight_processes_at_once_get_the_same_secret_and_leave_nothing_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "作業 場")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: kept_auth_string(layout), range(8)))
    assert found == {layout.prefect_auth.read_text().strip()}
    assert [path.name for path in layout.prefect_home.iterdir()] == ["auth"]
    assert layout.prefect_auth.stat().st_mode & 0o777 == 0o600
    assert layout.prefect_home.stat().st_mode & 0o777 == 0o700


def test_the_umask_decides_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept_auth_string(layout := Layout(tmp_path))
    finally:
        os.umask(before)
    assert layout.prefect_auth.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "no-colon-in-this-line", "me:short", "me:password with blanks", "利用者:パスワード" * 4]
)
def test_a_damaged_file_is_named_with_the_remedy_and_never_quoted(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    kept_auth_string(layout)
    layout.prefect_auth.write_text(text, encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"delete the file") as caught:
        kept_auth_string(layout)
    assert str(layout.prefect_auth) in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kept_auth_string(layout)
    layout.prefect_auth.chmod(0o640)
    with pytest.raises(WorkspaceError, match="can be read by other users"):
        kept_auth_string(layout)


# ---------------------------------------------------------------- what a server answers
@pytest.fixture
def server() -> Iterator[tuple[str, list[int]]]:
    """An API that answers with these statuses, one after the other."""
    statuses: list[int] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    api = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{api.server_port}/api", statuses
    api.shutdown()
    api.server_close()


def test_a_server_with_another_secret_is_distinguished_from_an_open_one(
    tmp_path: Path, server: tuple[str, list[int]]
) -> None:
    api, statuses = server
    layout = Layout(tmp_path)
    for answers, expected in (([200], "open to every user"), ([401, 401], "refuses the secret in")):
        statuses[:] = answers
        with pytest.raises(WorkspaceError, match=expected):
            require_closed(layout, api, "me:secret")
    statuses[:] = [401, 200]
    require_closed(layout, api, "me:secret")


def test_a_configured_server_that_refuses_a_run_by_hand_names_the_variable(server: tuple[str, list[int]]) -> None:
    api, statuses = server
    statuses[:] = [401, 200]
    with pytest.raises(WorkspaceError, match="PREFECT_API_AUTH_STRING"):
        require_access(api)
    require_access(api)
    require_access("http://127.0.0.1:9/api")  # Prefect's own message about a server that is not there is good
