"""The simulated network as a whole: what ``simulate`` and ``demo`` start."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from firehose_indexer.errors import ConfigError
from firehose_indexer.sim import clock, faults, wire
from firehose_indexer.sim.faults import Fault, Faults
from firehose_indexer.sim.plc import Directory, Operations, operations_of
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.stream.recording import read_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

Document = dict[str, Any]

WINDOW: Final = 100_000

RECURRING: Final[dict[str, Callable[[], Fault]]] = {
    "drop": faults.drop,
    "close": faults.close,
    "duplicate": faults.duplicate,
    "replay": lambda: faults.replay(20),
    "backwards": faults.backwards,
    "text": faults.text,
    "truncated": lambda: faults.poison("truncated"),
    "forged": lambda: faults.forged("bad signature"),
    "stall": lambda: faults.stall(40.0),
}
"""The faults that a plan in words can name."""


def parse_faults(plan: str) -> Faults:
    """A plan such as ``drop=1000,duplicate=200``: each about once in so many events. Raises ConfigError."""
    parsed = Faults()
    for item in filter(None, plan.split(",")):
        name, _, events = item.strip().partition("=")
        if name not in RECURRING or not events.isdecimal() or int(events) < 1:
            raise ConfigError(
                f"unknown fault {item!r}", hint=f"write NAME=EVENTS with one of {', '.join(RECURRING)}"
            )
        parsed.recur(RECURRING[name](), int(events))
    return parsed


class Network:
    """A relay and a PLC directory on loopback, and what they serve. Use as an async context manager.

    Point an indexer at ``relay.url`` and ``directory.url``; ``run`` publishes until there is nothing left.
    ``rate`` is in events a second, None is as fast as the slowest client reads.
    """

    def __init__(
        self,
        events: Iterable[Emitted],
        document: Callable[[str], Document | None],
        *,
        operations: Operations = tuple,
        port: int = 0,
        plc_port: int = 0,
        rate: float | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.relay = Relay(port=port, window=WINDOW, faults=faults)
        self.directory = Directory(document, operations=operations, port=plc_port)
        self._events = events
        self._rate = rate
        self._stack = AsyncExitStack()

    @classmethod
    def of_world(cls, world: World, **options: Any) -> Network:
        return cls(world, world.document, operations=lambda: operations_of(world), **options)

    @classmethod
    def of_recording(cls, recording: Path, **options: Any) -> Network:
        """A recording, and the documents in ``<its name>.identities.jsonl`` beside it, if that is there."""
        return cls(recorded(recording), identities_beside(recording).get, **options)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.relay)
        await self._stack.enter_async_context(self.directory)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        await self.relay.feed(self._events, self._rate)


def recorded(recording: Path) -> Iterator[Emitted]:
    """The messages of a recording as events. One that cannot be read keeps the seq of the one before it."""
    seq = 0
    for frame in read_frames(recording):
        try:
            _, body = wire.decode(frame)
            seq, did = max(seq, body["seq"]), body.get("repo") or body["did"]
        except (ValueError, KeyError, TypeError, RecursionError):
            did = ""
        yield Emitted(seq, did, frame)


def identities_beside(recording: Path) -> dict[str, Document]:
    """DID documents by DID, one a line, from the file that goes with a recording."""
    name = recording.name.removesuffix(".zst").removesuffix(".frames")
    path = recording.with_name(f"{name}.identities.jsonl")
    if not path.exists():
        return {}
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    return {document["id"]: document for document in documents}


async def simulate(
    *,
    port: int,
    plc_port: int = 0,
    from_file: Path | None = None,
    seed: int = 1,
    accounts: int = 100,
    rate: float | None = 50.0,
    faults: str = "",
    announce: Callable[[Network], None] = lambda _: None,
) -> None:
    """Run the network until cancelled, or serve a recording for as long.

    ``announce`` is called once both servers listen. Raises ConfigError for a plan of faults that cannot be
    read, OSError for a port that is taken.
    """
    options: dict[str, Any] = {
        "port": port,
        "plc_port": plc_port,
        "rate": rate,
        "faults": parse_faults(faults),
    }
    if from_file is None:
        network = Network.of_world(World(seed, accounts, odd=True, now=clock.wall()), **options)
    else:
        network = Network.of_recording(from_file, **options)
    async with network:
        announce(network)
        await network.run()
        await network.relay.closed()
