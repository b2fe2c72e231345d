"""A resolver on a loopback network with a clock that only sleeping moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from firehose_indexer.guard import Rules
from firehose_indexer.identity.cache import Finding
from firehose_indexer.identity.network import Manners, Network
from firehose_indexer.identity.resolver import Resolver
from firehose_indexer.metrics import Metrics
from firehose_indexer.names import NoSuchName
from firehose_indexer.outbound import Outbound
from firehose_indexer.repo.keys import PrivateKey
from firehose_indexer.sim.people import did as did_of
from firehose_indexer.sim.plc import Directory

START = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def __call__(self) -> float:
        self.now += 1e-6  # no two readings are the same, as in life
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class MemoryShelf:
    """A shelf that outlives a resolver."""

    def __init__(self) -> None:
        self.findings: dict[str, Finding] = {}
        self.loads: list[int] = []

    async def load(self, dids: Collection[str]) -> Sequence[Finding]:
        self.loads.append(len(dids))
        await asyncio.sleep(0)
        return [self.findings[did] for did in dids if did in self.findings]

    async def save(self, findings: Sequence[Finding]) -> None:
        self.findings.update((finding.did, finding) for finding in findings)


class Names:
    """Every name is on loopback; TXT records are as told."""

    def __init__(self) -> None:
        self.txt: dict[str, list[bytes] | OSError] = {}
        self.asked: Counter[str] = Counter()

    async def addresses(self, host: str) -> list[str]:
        if host.startswith("dead"):
            raise OSError("no answer")
        return ["127.0.0.1"]

    async def texts(self, name: str) -> list[bytes]:
        self.asked[name] += 1
        found = self.txt.get(name.removeprefix("_atproto."), [])
        if isinstance(found, OSError):
            raise found
        if not found:
            raise NoSuchName(name)
        return found


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.names = Names()
        self.shelf: Any = MemoryShelf()
        self.documents: dict[str, dict[str, Any]] = {}
        self.directory = Directory(self.documents.get)

    def account(self, number: int, handle: str | None = None, key: str = "") -> str:
        did = did_of(1, number)
        public = PrivateKey.from_seed(f"{key}{number}".encode()).multikey()
        self.documents[did] = {
            "id": did,
            "alsoKnownAs": [f"at://{handle}"] if handle else [],
            "verificationMethod": [
                {"id": "#atproto", "type": "Multikey", "controller": did, "publicKeyMultibase": public}
            ],
            "service": [],
        }
        return did

    @asynccontextmanager
    async def resolver(self, *, well_known_port: int = 1, **options: Any) -> AsyncIterator[Resolver]:
        manners = Manners(
            plc_url=self.directory.url,
            well_known=f"http://{{handle}}:{well_known_port}/.well-known/atproto-did",
            **options,
        )
        rules = Rules.of(allow_private=True)
        async with Outbound(self.metrics, self.names, user_agent="test", rules=rules) as outbound:
            network = Network(
                outbound, self.names, self.metrics, manners, clock=self.clock, sleep=self.clock.sleep
            )
            resolver = Resolver(network, self.shelf, self.metrics)
            async with asyncio.TaskGroup() as tasks:
                resolver.start(tasks)
                try:
                    yield resolver
                finally:
                    await resolver.stop()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"firehose_{name}", labels) or 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
