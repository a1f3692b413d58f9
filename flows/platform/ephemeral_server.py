"""Prefect's server for one run by hand, started first: it needs seconds, and meanwhile the steps are loaded.

Prefect would start one of its own only when the flow begins, wait for it, and leave it behind where the flow is killed.
This one listens on a socket that is its own from the beginning, and ends when the process that started it ends,
however it ends.
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
"""A second: Prefect's own kinds of blocks are for its pages, and a server that has pages registers them."""


@contextmanager
def begin() -> Iterator[Callable[[], None]]:
    """Start a server for this process, on Prefect's usual database; where an API is configured, that one serves.

    The secret that lets this process in, and nobody else, stands in the environment of the two alone.
    Flows inside send no heartbeats to a server that ends with them: each would wait a second for its last one.

    Yields:
        To be called before the first flow: waits until the server answers; raises WorkspaceError where it does not,
        or where a configured one refuses this process.
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
    atexit.register(_end, child)  # runs after what Prefect registers later: by then the last lines are sent
    os.environ |= {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": secret}
    os.environ.setdefault("PREFECT_UI_URL", "")  # it has no pages: no line shall name one
    refresh_global_settings_context()
    with prefect.settings.temporary_settings({prefect.settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield lambda: _wait(url)


def _wait(url: str) -> None:
    """The first question waits in the socket's queue until the server takes it."""
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
    """Standard input ends when the parent closes it, or is no more."""
    while os.read(0, 1):  # not through sys.stdin: its lock would be held when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it still has its last state to tell
    _serve(int(sys.argv[1]))
