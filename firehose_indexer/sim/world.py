"""The simulated network as one deterministic source of events, and the truth about it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from firehose_indexer.repo.keys import PrivateKey
from firehose_indexer.sim import clock, wire
from firehose_indexer.sim.account import Account, Stored
from firehose_indexer.sim.acts import Change, Join, Leave, Rename, Resync, Return
from firehose_indexer.sim.crowd import Crowd
from firehose_indexer.sim.history import history as records_of
from firehose_indexer.sim.people import handle
from firehose_indexer.sim.wire import Emitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firehose_indexer.sim.acts import Act
    from firehose_indexer.sim.clock import Clock

Record = tuple[str, str, str]
"""(did, collection, rkey); the rkey is whatever follows the first slash of the path."""


class World:
    """A crowd and the accounts that perform what it decides.

    ``accounts``: how many take part; without ``history`` they join on the wire, with it they were there before,
    with ``history`` records on average that the stream never carried. ``odd``: also hostile but valid records.
    ``part``: (k, n) performs only the accounts whose number is k modulo n; seqs and bytes stay those of the
    whole world, so n processes can share the work. ``now``: the clock, by default one that does not depend
    on the time of day.
    """

    def __init__(
        self,
        seed: int = 1,
        accounts: int = 100,
        *,
        history: int = 0,
        odd: bool = False,
        now: Clock | None = None,
        pds: str = "https://pds.sim.test",
        part: tuple[int, int] = (0, 1),
    ) -> None:
        now = now or clock.ticking()
        self.seq = 0
        """Of the newest event."""
        self.accounts: dict[str, Account] = {}
        """By DID: everybody who has done something yet."""
        self._seed = seed
        self._history = history
        self._start = now()
        self._pds = pds
        self._part = part
        self._crowd = Crowd(seed, accounts, now, settled=history > 0, with_odd=odd)

    def __iter__(self) -> Iterator[Emitted]:
        """Events without end."""
        while True:
            yield from self.step()

    def take(self, events: int) -> list[Emitted]:
        """At least so many events, up to the end of an act."""
        taken: list[Emitted] = []
        while len(taken) < events:
            taken += self.step()
        return taken

    def step(self) -> list[Emitted]:
        """One act and the events it becomes; none if the actor is not of our part."""
        act = self._crowd.act()
        seq = self.seq
        self.seq += act.frames
        k, n = self._part
        if act.who % n != k:
            return []
        account = self._account(act)
        frames = self._perform(act, account, seq + 1)
        return [Emitted(seq + i, account.did, frame) for i, frame in enumerate(frames, 1)]

    def records(self) -> dict[Record, Stored]:
        """Every record that the stream has carried and that now exists, of accounts not deleted."""
        return {
            (account.did, *_split(path)): stored
            for account in self.accounts.values()
            if account.status != "deleted"
            for path, stored in account.records.items()
        }

    def document(self, did: str) -> dict[str, Any] | None:
        """The DID document of an account, None for a DID nobody has."""
        account = self.accounts.get(did)
        return account.document(self._pds) if account is not None else None

    def _account(self, act: Act) -> Account:
        name = self._crowd.people.dids[act.who]
        account = self.accounts.get(name)
        if account is None:
            secret = sha256(f"key {self._seed} {act.who}".encode()).digest()
            account = Account(name, handle(act.who), PrivateKey.from_seed(secret), act.who & 1023)
            self.accounts[name] = account
            if not isinstance(act, Join):
                amount = int(self._history * self._crowd.people.activity(act.who))
                account.found(self._start, records_of(self._seed, act.who, amount, self._start))
        return account

    def _perform(self, act: Act, account: Account, seq: int) -> list[bytes]:
        name, time = account.did, clock.text(act.time)
        match act:
            case Change(writes=writes):
                return [self._commit(account, act.time, seq, writes)]
            case Join():
                return [
                    wire.identity(seq=seq, did=name, time=time, handle=account.handle),
                    wire.account(seq=seq + 1, did=name, time=time, status=None),
                    self._commit(account, act.time, seq + 2, ()),
                    self._sync(account, time, seq + 3),
                ]
            case Rename(handle=new):
                account.handle = new
                return [wire.identity(seq=seq, did=name, time=time, handle=new)]
            case Leave(status=status):
                account.status = status
                return [wire.account(seq=seq, did=name, time=time, status=status)]
            case Return():
                account.status = None
                return [
                    wire.account(seq=seq, did=name, time=time, status=None),
                    wire.identity(seq=seq + 1, did=name, time=time, handle=account.handle),
                    self._sync(account, time, seq + 2),
                ]
            case Resync():
                return [self._sync(account, time, seq)]

    def _commit(self, account: Account, time: int, seq: int, writes: tuple[Any, ...]) -> bytes:
        signed = account.commit(time, seq, writes)
        return wire.commit(
            seq=seq,
            did=account.did,
            time=clock.text(time),
            rev=signed.rev,
            since=signed.since,
            cid=signed.cid,
            blocks=signed.blocks,
            ops=signed.ops,
            prev_data=signed.prev_data,
        )

    def _sync(self, account: Account, time: str, seq: int) -> bytes:
        assert account.rev is not None
        return wire.sync(seq=seq, did=account.did, time=time, rev=account.rev, blocks=account.sync_car())


def _split(path: str) -> tuple[str, str]:
    collection, _, rkey = path.partition("/")
    return collection, rkey
