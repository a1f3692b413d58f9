"""Where texts may be sent: hosts, and an HTTP client that keeps to them. What was sent is in ``audit.py``."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from entityclip.errors import ConfigError
from entityclip.schemas import Record

if TYPE_CHECKING:
    import httpx

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN = re.compile(r"[!-~]+")
_EXAMPLE = "expected like http://127.0.0.1:8000/v1"


class HostPolicy(Record):
    """Which hosts a writer may send texts to."""

    local_only: bool = Field(default=True, description="Send to this machine and to the allowed hosts alone.")
    allowed: tuple[str, ...] = Field(
        default=(), description="Hosts beside this machine that may be sent to, as in llm.example.com; no ports."
    )

    @field_validator("allowed")
    @classmethod
    def _plain(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(_plain_host(host.removeprefix("[").removesuffix("]")) for host in hosts)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def require(self, url: str) -> str:
        """The host of ``url``, if it may be sent to.

        Raises:
            ConfigError: It may not, or ``url`` is no plain address (see ``host_of``).
        """
        host = host_of(url)
        if self.local_only and not is_loopback(host) and host not in self.allowed:
            raise ConfigError(
                f"host {host!r}: texts may only be sent to this machine; if they may leave it for this host, "
                f"add {host!r} to the allowed hosts of the explain settings"
            )
        return host

    def client(self, url: str, **settings: Any) -> httpx.AsyncClient:
        """An HTTP client for ``url`` that keeps to this policy; ``settings`` are ``httpx.AsyncClient``'s own.

        It follows no redirect, asks again before every request, and does not hand what is meant for this machine
        to a proxy that the environment names.

        Raises:
            ConfigError: ``url`` may not be sent to.
        """
        import httpx

        async def ask(request: httpx.Request) -> None:
            self.require(str(request.url))

        direct = is_loopback(self.require(url))
        return httpx.AsyncClient(
            **settings, follow_redirects=False, trust_env=not direct, event_hooks={"request": [ask]}
        )


def host_of(url: str) -> str:
    """The host that a request to ``url`` reaches: small letters, IPv6 without brackets.

    Only plain addresses pass. What two parsers could read as two hosts is refused: a user before the host,
    backslashes, spaces, letters beyond ASCII, numbers that are no usual IP address (``2130706433``, ``0x7f.1``).

    Raises:
        ConfigError: No plain http or https address.
    """
    if "@" in url:
        # What stands before it may be a password, so the message does not repeat the address.
        raise ConfigError(f"an address with '@' in it; {_EXAMPLE}, the key in an environment variable")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"address {url!r}: {error}; {_EXAMPLE}") from None
    if parts.scheme not in ("http", "https") or not _PLAIN.fullmatch(url) or "\\" in url:
        raise ConfigError(f"address {url!r}: not a plain http or https address; {_EXAMPLE}")
    return _plain_host(host)


def _plain_host(host: str) -> str:
    """``host`` in small letters, if it is a name or an IP address in its usual form."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        name = host.lower().removesuffix(".")
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise ConfigError(f"host {host!r}: expected a name like llm.example.com, or an IP address in its usual form")
    return name


def is_loopback(host: str) -> bool:
    """Whether ``host``, as ``host_of`` gives it, is this very machine: 127.0.0.0/8, ::1, localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
