"""Questions to the DNS: the addresses of a host, the TXT records of a name."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

DNS_SECONDS: Final = 5.0


class NoSuchName(OSError):
    """The DNS answered: there is nothing by this name."""


class Lame(OSError):
    """The DNS answered that it could not find out: the name's own servers are broken, not ours."""


class Names:
    """Asks ``servers`` (addresses), or those of the system, over asyncio: a server that is silent ties up
    no thread. ``local``: addresses come from the system's own lookup, hosts file and all.
    """

    def __init__(self, servers: Sequence[str] | None = None, *, port: int = 53, local: bool = False) -> None:
        self._servers = list(servers or ())
        self._port = port
        self._local = local
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def addresses(self, host: str) -> list[str]:
        """Every address of ``host``, IPv4 and IPv6. Raises NoSuchName, or OSError without an answer in 5 s."""
        async with asyncio.timeout(DNS_SECONDS):
            if self._local:
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
                return list(dict.fromkeys(str(entry[4][0]) for entry in found))
            four, six = await asyncio.gather(
                self._ask(host, dns.rdatatype.A), self._ask(host, dns.rdatatype.AAAA), return_exceptions=True
            )
        for answer in (four, six):
            if isinstance(answer, BaseException) and not isinstance(answer, NoSuchName):
                raise answer
        found_addresses = [
            rdata.address
            for answer in (four, six)
            if isinstance(answer, dns.resolver.Answer)
            for rdata in answer
        ]
        if not found_addresses:
            raise NoSuchName(host)
        return found_addresses

    async def texts(self, name: str) -> list[bytes]:
        """The TXT records of ``name``, the chunks of each joined. Raises as ``addresses``."""
        async with asyncio.timeout(DNS_SECONDS):
            answer = await self._ask(name, dns.rdatatype.TXT)
        return [b"".join(rdata.strings) for rdata in answer if isinstance(rdata, TXT)]

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        try:
            # Absolute: the system's search domains are no business of the network's names.
            absolute = dns.name.from_text(name if name.endswith(".") else name + ".")
            return await self._system().resolve(absolute, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise NoSuchName(name) from error
        except dns.resolver.NoNameservers as error:
            raise Lame(name) from error
        except (dns.exception.DNSException, UnicodeError) as error:
            raise OSError(f"DNS: {type(error).__name__}") from error

    def _system(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers = random.sample(self._servers, len(self._servers))
            if self._port != 53:
                resolver.port = self._port
            resolver.lifetime = DNS_SECONDS
            self._resolver = resolver
        return self._resolver
