"""Where this process may be sent by strangers: schemes, hosts, ports, addresses (spec/services (a), SSRF guard)."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from yarl import URL

Address = IPv4Address | IPv6Address

_REFUSED_4 = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_GLOBAL_6 = ip_network("2000::/3")
# 64:ff9b::/96 and ::ffff:0:0/96 lie outside 2000::/3 already.
_REFUSED_6 = tuple(ip_network(text) for text in ("2001:db8::/32", "2002::/16"))

_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_is_name = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?", re.ASCII).fullmatch
_is_number = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII).fullmatch


def is_public(address: Address) -> bool:
    """Whether a stranger may make us connect there."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_4)
    # A scope names an interface of this machine.
    if address.scope_id is not None or address not in _GLOBAL_6:
        return False
    return not any(address in network for network in _REFUSED_6)


def parse_address(text: str) -> Address | None:
    """An address in its canonical notation; None for anything else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_name(host: str) -> bool:
    """Whether ``host``, lower case, is a DNS name: neither an address in any notation nor anything odd.

    A host whose last label is a number, decimal, octal or hexadecimal, is what browsers and C libraries
    read as an IPv4 address: ``2130706433``, ``0x7f.1``, ``0177.0.0.1``. No top-level domain is a number.
    """
    if len(host) > 253 or _is_name(host) is None:
        return False
    return _is_number(host.rstrip(".").rpartition(".")[2]) is None


class Refusal(StrEnum):
    """Why the guard did not let a request out, or an answer in."""

    url = "url"
    scheme = "scheme"
    userinfo = "userinfo"
    port = "port"
    host = "host"
    address = "address"
    redirects = "redirects"
    size = "size"


class OutboundError(OSError):
    """A request that has no answer."""


class OutboundRefused(OutboundError):
    """Refused by the guard: no retry will change it."""

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}"[:200] if detail else str(reason))
        self.reason = reason


class OutboundFailed(OutboundError):
    """Name, route, TLS, time, or something that is not HTTP: may go better later."""


class Rules(NamedTuple):
    """What the guard lets through. ``local``: http, any port, and addresses written as such."""

    local: bool = False
    public: Callable[[Address], bool] = is_public

    @classmethod
    def of(cls, *, allow_private: bool) -> Rules:
        """``ALLOW_PRIVATE_HOSTS``: everything of a devnet is allowed, for tests."""
        return cls(local=True, public=lambda _: True) if allow_private else cls()

    def judge(self, url: str) -> URL:
        """The URL in its parsed form. Raises OutboundRefused."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise OutboundRefused(Refusal.url, url) from None
        if scheme not in _PORTS or (scheme in {"http", "ws"} and not self.local):
            raise OutboundRefused(Refusal.scheme, scheme)
        if "@" in parts.netloc or "\\" in url:
            raise OutboundRefused(Refusal.userinfo)
        self.judge_host(host, port or _PORTS[scheme])
        parsed = URL(url)
        # Two parsers that read one URL differently are how a guard is passed.
        if (parsed.raw_host or "").lower() != host or parsed.port != (port or _PORTS[scheme]):
            raise OutboundRefused(Refusal.url, url)
        return parsed

    def judge_host(self, host: str, port: int) -> None:
        """Raises OutboundRefused for a host that is no name, or a port other than 443."""
        if port != 443 and not self.local:
            raise OutboundRefused(Refusal.port, str(port))
        if is_name(host):
            return
        address = parse_address(host) if self.local else None
        if address is None:
            raise OutboundRefused(Refusal.host, host)
        if not self.public(address):  # nobody is asked to resolve an address, so it is judged here
            raise OutboundRefused(Refusal.address, host)
