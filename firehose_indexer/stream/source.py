"""Where a stream comes from: a relay, a PDS or a recording."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from firehose_indexer.errors import ConfigError

SUBSCRIBE_REPOS = "com.atproto.sync.subscribeRepos"
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


class Source(NamedTuple):
    """A host and the endpoint spoken to there: the scope of a cursor (spec/protocol §3.1).

    ``host`` is the name as stored: lower case, the port kept when it is not the scheme's own; or
    ``file:<sha256>`` for a recording. ``url`` is the address without a query.
    """

    host: str
    url: str
    endpoint: str = SUBSCRIBE_REPOS

    def at(self, cursor: int | None) -> str:
        """The URL to connect to; without a cursor the server begins at its newest event."""
        return self.url if cursor is None else f"{self.url}?cursor={cursor}"


def parse_source(text: str, *, allow_insecure: bool = False, endpoint: str = SUBSCRIBE_REPOS) -> Source:
    """Read one RELAY_URL value: a bare host, or an http(s) or ws(s) URL whose path and query are dropped.

    A bare host means wss, except on loopback, where nobody serves TLS. Raises ConfigError.
    """
    text = text.strip()
    scheme_given = "://" in text
    try:
        parts = urlsplit(text if scheme_given else f"//{text}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ConfigError(f"RELAY_URL cannot be read: {error}", hint=_EXAMPLE) from None
    if not host or any(c.isspace() for c in host):
        raise ConfigError("RELAY_URL names no host", hint=_EXAMPLE)
    if parts.username is not None or parts.password is not None:
        raise ConfigError("RELAY_URL holds a user or password", hint="the stream needs none: take it out")
    scheme = _SCHEMES.get(parts.scheme) if scheme_given else ("ws" if is_loopback(host) else "wss")
    if scheme is None:
        raise ConfigError(f"RELAY_URL has the scheme {parts.scheme!r}", hint=_EXAMPLE)
    if scheme == "ws" and not allow_insecure and not is_loopback(host):
        raise ConfigError(
            f"RELAY_URL would reach {host} without TLS",
            hint=f"use wss://{host}, or set STREAM_ALLOW_INSECURE=1 inside a trusted network",
        )
    name = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        name = f"{name}:{port}"
    return Source(name, f"{scheme}://{name}/xrpc/{endpoint}", endpoint)


def is_loopback(host: str) -> bool:
    """Whether a host name or literal address stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_EXAMPLE = "RELAY_URL=wss://bsky.network"
