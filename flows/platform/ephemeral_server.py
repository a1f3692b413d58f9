"""A temporary Prefect server for one run by hand. It starts in parallel with the imports of the steps.

Prefect's own temporary server starts only when the flow begins, and keeps running if the flow is killed. This one
listens on a socket that it inherits, and exits when its parent process exits, even if the parent is killed.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import prefect.settings
from prefect.context import refresh_global_settings_context

from entityclip.errors import WorkspaceError
from flows.platform.prefect_auth import new_auth_string, require_access, server_settings

START_SECONDS, STOP_SECONDS = 180.0, 10.0
_AS_PREFECT_DOES = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_LESS_TO_START = {"PREFECT_API_BLOCKS_REGISTER_ON_START": "0"}
"""Saves a second: only a server with pages needs Prefect's own block types."""


@contextmanager
def begin() -> Iterator[Callable[[], None]]:
    """Start a server for this process, on Prefect's usual database, unless an API is configured.

    Access needs a random secret that only the environments of the two processes hold. Heartbeats of flows are off:
    each flow would wait a second for its last one.

    Yields:
        A function to call before the first flow: it waits until the server answers, and raises WorkspaceError if it
        does not, or if a configured server refuses this process.
    """
    configured = prefect.settings.PREFECT_API_URL.value()
    if configured or not prefect.settings.PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        yield lambda: require_access(configured) if configured else None
        return
    secret = new_auth_string()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}/api"
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.platform.ephemeral_server", str(listening.fileno())],
            stdin=subprocess.PIPE,
            env=os.environ | _AS_PREFECT_DOES | _LESS_TO_START | server_settings(secret, port=port),
            pass_fds=[listening.fileno()],
        )
    # DVC loads it when a workspace is created. It resets all log handlers, which inside a flow waits five seconds for
    # those of Prefect.
    import gto.log  # noqa: F401

    atexit.register(_end, child)  # runs after the handlers that Prefect registers later, which send the last log lines
    os.environ |= {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": secret}
    os.environ.setdefault("PREFECT_UI_URL", "")  # the server has no pages to link to
    refresh_global_settings_context()
    with prefect.settings.temporary_settings({prefect.settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield lambda: _wait(url)


def _wait(url: str) -> None:
    """The first request waits in the socket's queue until the server accepts it."""
    try:
        httpx.get(f"{url}/health", timeout=START_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise WorkspaceError(f"Prefect's temporary server does not answer: {error}; see the lines above") from error


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# ---------------------------------------------------------------- in the server's process
def _serve(descriptor: int) -> None:
    import uvicorn

    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    uvicorn.Server(settings).run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_parent() -> None:
    """Exit when standard input closes, which means that the parent has exited."""
    while os.read(0, 1):  # not sys.stdin, whose lock would still be held at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent still has to send its final state
    _serve(int(sys.argv[1]))
