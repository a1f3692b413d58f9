"""Single sign-on: a proxy in front of the pages authenticates people and passes their name in a header.

Off unless both variables are set. ``ENTITYCLIP_SSO_HEADER`` is the name of the header, ``ENTITYCLIP_SSO_PROXIES`` the
addresses or networks of the proxies. The header counts only where the connection itself comes from one of them, and
the proxy has to overwrite the header of every request. Scopes and limits stay those of the API key whose name is the
name in the header.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import Scope

from entityclip.errors import ConfigError

HEADER, PROXIES = "ENTITYCLIP_SSO_HEADER", "ENTITYCLIP_SSO_PROXIES"
NO_ONE = "no-one"
"""A peer that cannot exist, for uvicorn's list of trusted proxies."""

log = logging.getLogger("entityclip.edge")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SignOn(NamedTuple):
    """Which header names a person, and which proxies may send it."""

    header: str
    proxies: tuple[Network, ...]

    def person(self, scope: Scope, headers: Headers) -> str | None:
        """The name that a trusted proxy passes; None for any other request, and where there is no name or two."""
        names = headers.getlist(self.header)
        if not names:
            return None
        peer = (scope.get("client") or ("",))[0]
        if not self._trusts(peer):
            log.warning("the header %s from %s is ignored: %s does not name this address", self.header, peer, PROXIES)
            return None
        name = names[0].strip() if len(names) == 1 else ""
        return name or None

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.proxies)


def from_environment() -> SignOn | None:
    """The sign-on that the environment sets; None where it sets none.

    With one, uvicorn must not replace the address of the connection by that in ``X-Forwarded-For``.

    Raises:
        ConfigError: Only one variable is set, or one cannot be used.
    """
    header, proxies = os.environ.get(HEADER, "").strip(), os.environ.get(PROXIES, "").strip()
    if not header and not proxies:
        return None
    if not header or not proxies:
        raise ConfigError(f"set both {HEADER} and {PROXIES}, or neither; the header counts from these addresses alone")
    if not re.fullmatch("[A-Za-z0-9-]+", header) or header.lower() in ("authorization", "cookie", "host"):
        raise ConfigError(f"{HEADER} is {header!r}; expected the name of a header such as X-Remote-User")
    os.environ["FORWARDED_ALLOW_IPS"] = NO_ONE
    return SignOn(header, tuple(map(_network, proxies.split(","))))


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(f"{PROXIES}: {error}; expected addresses or networks such as 10.0.0.5,10.1.0.0/24") from None
    if not network.prefixlen:
        raise ConfigError(f"{PROXIES}: {text.strip()} is every address; name those of the proxies")
    return network
