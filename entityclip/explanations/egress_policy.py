"""Which hosts texts may be sent to, and an HTTP client that enforces it. ``audit.py`` records what was sent."""

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

    local_only: bool = Field(default=True, description="Send only to this machine and to the allowed hosts.")
    allowed: tuple[str, ...] = Field(
        default=(), description="Further hosts that texts may be sent to, such as llm.example.com; without ports."
    )

    @field_validator("allowed")
    @classmethod
    def _plain(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(_plain_host(host.removeprefix("[").removesuffix("]")) for host in hosts)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def require(self, url: str) -> str:
        """The host of ``url``, if the policy allows it.

        Raises:
            ConfigError: The host is not allowed, or ``url`` is ambiguous (see ``host_of``).
        """
        host = host_of(url)
        if self.local_only and not is_loopback(host) and host not in self.allowed:
            raise ConfigError(
                f"host {host!r}: texts may only be sent to this machine; if they may leave it for this host, "
                f"add {host!r} to hosts.allowed of this server"
            )
        return host

    def client(self, url: str, **settings: Any) -> httpx.AsyncClient:
        """An HTTP client for ``url`` that enforces this policy; ``settings`` go to ``httpx.AsyncClient``.

        It follows no redirects, checks the host before every request, and ignores proxies of the environment for
        requests to this machine.

        Raises:
            ConfigError: The host of ``url`` is not allowed.
        """
        import httpx

        async def check(request: httpx.Request) -> None:
            self.require(str(request.url))

        direct = is_loopback(self.require(url))
        return httpx.AsyncClient(
            **settings, follow_redirects=False, trust_env=not direct, event_hooks={"request": [check]}
        )


def host_of(url: str) -> str:
    """The host that a request to ``url`` reaches: lower case, IPv6 without brackets.

    Rejects addresses that two parsers could read differently: user info before the host, backslashes, spaces,
    non-ASCII letters, and numbers that are not a usual IP address (``2130706433``, ``0x7f.1``).

    Raises:
        ConfigError: Not a plain http or https address.
    """
    if "@" in url:
        # The part before "@" may be a password, so the message does not repeat the address.
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
    """``host`` in lower case, if it is a name or an IP address in its usual form."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        name = host.lower().removesuffix(".")
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise ConfigError(f"host {host!r}: expected a name like llm.example.com, or an IP address in its usual form")
    return name


def is_loopback(host: str) -> bool:
    """Whether ``host``, as ``host_of`` returns it, is this machine: 127.0.0.0/8, ::1, localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
