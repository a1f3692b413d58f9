"""Who asks the service in these tests."""

from typing import Any

FROM_HERE: dict[str, Any] = {
    "base_url": "http://localhost",
    "client": ("127.0.0.1", 50000),
    "raise_server_exceptions": False,
}
"""A caller on this machine, whom a service without keys answers; arguments of Starlette's ``TestClient``."""


def bearer(key: str) -> dict[str, str]:
    """The header that presents an API key."""
    return {"authorization": f"Bearer {key}"}
