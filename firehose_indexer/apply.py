"""One item of the stream takes its outcome in the batch: applied, ignored, quarantined or desynchronizing.

Pure but for the clock: knows repo/ and records/, and the batch they fill (protocol §5.1, §6).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from firehose_indexer.errors import ProducerError, Reason, RecordError, Rejected
from firehose_indexer.records.base import Note
from firehose_indexer.records.registry import Registry
from firehose_indexer.records.rows import row_of
from firehose_indexer.repo.commit import Op, open_commit, open_sync
from firehose_indexer.repo.datetimes import parse as parse_datetime
from firehose_indexer.repo.syntax import is_did, tid_from_int
from firehose_indexer.store.batch import Batch, Refusal
from firehose_indexer.store.chains import Chain, Chains
from firehose_indexer.stream.events import (
    Account,
    Commit,
    Gap,
    Identity,
    Ignored,
    Item,
    Malformed,
    Poison,
    Sync,
)

FUTURE_SECONDS = 300


class Applier:
    """``take`` puts one item into a batch. The chains of its accounts must be loaded before."""

    def __init__(self, registry: Registry, chains: Chains) -> None:
        self._registry = registry
        self._chains = chains
        self._notes: list[Note] = []
        self.now = datetime.now(UTC)
        self.newest_rev = ""
        self.tick()

    def tick(self) -> None:
        """Reads the clock; called once per chunk of events, not per event."""
        seconds = time.time()
        self.now = datetime.fromtimestamp(seconds, UTC)
        self.newest_rev = tid_from_int(int((seconds + FUTURE_SECONDS) * 1_000_000) << 10)

    def take(self, batch: Batch, item: Item) -> None:
        """Every item ends here in exactly one outcome."""
        if type(item) is Commit:
            self._guarded(batch, item)
        elif type(item) is Poison:
            batch.refusals.append(
                Refusal("frame", str(item.reason), item.detail, item.body, item.size, item.after_seq)
            )
            batch.outcomes["quarantine", str(item.reason)] += 1
            return
        elif type(item) is Gap:
            batch.gaps.append(item)
            return
        elif type(item) is Malformed:
            self._refuse(batch, item.frame, item.seq, str(item.reason), item.detail)
        elif type(item) is Ignored:
            batch.outcomes["ignore", str(item.reason)] += 1
        else:
            assert isinstance(item, Sync | Identity | Account)
            self._guarded(batch, item)
        batch.events += 1
        if item.seq is not None:
            batch.watermark = item.seq

    def _guarded(self, batch: Batch, event: Commit | Sync | Identity | Account) -> None:
        """One event; what it breaks is quarantined as the whole frame."""
        at = parse_datetime(event.time)
        at = self.now if at is None or at > self.now else at
        batch.event_time = at
        try:
            if type(event) is Commit:
                self._commit(batch, event, at)
            elif type(event) is Sync:
                self._sync(batch, event)
            else:
                assert isinstance(event, Identity | Account)
                self._account(batch, event, at)
        except ProducerError as fault:
            self._desynchronize(batch, event.did, str(fault.reason), event.seq)
            self._refuse(batch, event.frame, event.seq, fault.code, fault.detail, did=event.did)
        except Rejected as fault:
            named = event.did if is_did(event.did) else None
            self._refuse(batch, event.frame, event.seq, fault.code, fault.detail, did=named)

    def _commit(self, batch: Batch, event: Commit, at: datetime) -> None:
        known = self._chains.get(event.did)
        if known is not None:
            if known.rev is not None and event.rev <= known.rev:
                batch.outcomes["ignore", str(Reason.rev_stale)] += 1
                return
            if known.broken is not None:
                batch.outcomes["ignore", "desynchronized"] += 1
                return
        opened = open_commit(event, self.newest_rev, known=known is not None)
        if opened.duplicate_paths:
            batch.outcomes["note", str(Reason.op_duplicate_path)] += opened.duplicate_paths
        for op in opened.ops:
            self._op(batch, op, at)
        self._advance(batch, event.did, Chain(event.rev, opened.object.data))
        batch.outcomes["accept-unverified", "verify_off"] += 1

    def _op(self, batch: Batch, op: Op, at: datetime) -> None:
        """Its siblings go on whatever becomes of it (protocol §5.1, Qo)."""
        if not op.rkey:
            assert op.fault is not None
            if op.cid is None:
                batch.drop(None, op)
            else:
                batch.refuse(None, op, op.fault)
            return
        collection = self._registry.of(op.collection)
        if op.fault is not None:
            batch.refuse(collection, op, op.fault)
        elif op.cid is None or op.block is None:
            batch.drop(collection, op)
        else:
            notes = self._notes
            try:
                row = row_of(collection, op.did, op.collection, op.rkey, op.cid, op.block, at, notes)
            except RecordError as fault:
                batch.refuse(collection, op, fault)
            else:
                batch.put(collection, op, row)
            if notes:
                for note in notes:
                    batch.notes[op.collection, note.kind, note.field] += 1
                notes.clear()

    def _sync(self, batch: Batch, event: Sync) -> None:
        """A statement of what the repo is now (protocol §6.1)."""
        signed = open_sync(event, self.newest_rev)
        known = self._chains.get(event.did)
        if known is None or known.rev is None:
            batch.seen.add(event.did)
            batch.outcomes["ignore", "unknown_repo"] += 1
        elif known.broken is not None:
            batch.outcomes["ignore", "desynchronized"] += 1
        elif signed.rev < known.rev or (signed.rev == known.rev and signed.data == known.data):
            batch.outcomes["ignore", str(Reason.rev_stale)] += 1
        elif signed.data == known.data:
            self._advance(batch, event.did, known._replace(rev=signed.rev))
            batch.outcomes["apply", ""] += 1
        else:
            reason = "sync_fork" if signed.rev == known.rev else "sync_event"
            self._desynchronize(batch, event.did, reason, event.seq)

    def _account(self, batch: Batch, event: Identity | Account, at: datetime) -> None:
        """Both make the account known; only ``#account`` says something we keep."""
        if not is_did(event.did):
            raise Rejected(Reason.did_invalid, event.did[:100])
        batch.seen.add(event.did)
        if type(event) is Account:
            batch.accounts[event.did] = event, at
        batch.outcomes["apply", ""] += 1

    def _advance(self, batch: Batch, did: str, chain: Chain) -> None:
        self._chains.put(did, chain)
        batch.chains[did] = chain

    def _desynchronize(self, batch: Batch, did: str, reason: str, seq: int) -> None:
        known = self._chains.get(did)
        if known is None:
            chain = Chain(None, None, reason, seq)
        else:
            chain = known._replace(broken=reason, since_seq=seq)
        self._advance(batch, did, chain)
        batch.outcomes["desynchronize", reason] += 1

    def _refuse(
        self, batch: Batch, frame: bytes, seq: int, code: str, detail: str, *, did: str | None = None
    ) -> None:
        scope = "frame" if did is None else "commit"
        batch.refusals.append(Refusal(scope, code, detail, frame, len(frame), seq, did))
        batch.bytes += len(frame)
        batch.outcomes["quarantine", code.partition(":")[0]] += 1
