"""The way out of the process as its settings say: the DNS, the guarded door, the resolver behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError
from firehose_indexer.guard import OutboundRefused, Rules
from firehose_indexer.identity.cache import Shelf, Terms
from firehose_indexer.identity.network import Manners, Network
from firehose_indexer.identity.resolver import Resolver
from firehose_indexer.metrics import Metrics
from firehose_indexer.names import Names
from firehose_indexer.outbound import Outbound
from firehose_indexer.version import user_agent


class Resolving(NamedTuple):
    """``network`` asks, ``resolver`` remembers what it said."""

    network: Network
    resolver: Resolver


def names(settings: Settings) -> Names:
    """DNS_SERVERS, or the system's."""
    return Names(settings.dns_servers, local=settings.allow_private_hosts)


def door(settings: Settings, metrics: Metrics) -> Outbound:
    """Closed: enter it to send requests; it judges hosts without."""
    return Outbound(
        metrics,
        names(settings),
        user_agent=user_agent(),
        rules=_rules(settings),
        proxy=settings.outbound_proxy,
    )


def refuse_directory(settings: Settings) -> None:
    """Raises ConfigError for a PLC_URL that the guard would never let out."""
    try:
        _rules(settings).judge(settings.plc_url)
    except OutboundRefused as error:
        raise ConfigError(
            f"PLC_URL is {settings.plc_url}, which is never asked ({error})",
            hint="https://plc.directory, or ALLOW_PRIVATE_HOSTS=1 for a devnet",
        ) from None


@asynccontextmanager
async def resolving(settings: Settings, shelf: Shelf, metrics: Metrics) -> AsyncIterator[Resolving]:
    """A resolver at work. What the block raises comes out in a group. Raises ConfigError."""
    refuse_directory(settings)
    manners = Manners(
        plc_url=settings.plc_url,
        concurrency=settings.resolver_concurrency,
        retries=settings.resolver_retries,
        seconds=settings.resolver_timeout_seconds,
        breaker_failures=settings.resolver_breaker_failures,
        breaker_seconds=settings.resolver_breaker_open_seconds,
    )
    terms = Terms(settings.resolver_cache_ttl_hours * 3600.0, settings.resolver_negative_ttl_seconds)
    async with door(settings, metrics) as outbound:
        network = Network(outbound, names(settings), metrics, manners)
        resolver = Resolver(network, shelf, metrics, size=settings.resolver_cache_size, terms=terms)
        async with asyncio.TaskGroup() as tasks:
            resolver.start(tasks)
            try:
                yield Resolving(network, resolver)
            finally:
                await resolver.stop()


def _rules(settings: Settings) -> Rules:
    return Rules.of(allow_private=settings.allow_private_hosts)
