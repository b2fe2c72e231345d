"""One account as its host keeps it: key, tree, records, and the commits it signs (spec/protocol §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import libipld

from firehose_indexer.repo.car import write_car
from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.tree import Tree, new_blocks, proof_blocks
from firehose_indexer.sim import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firehose_indexer.repo.keys import PrivateKey
    from firehose_indexer.sim.acts import Write

_SIGNATURE = b"\x63sig\x58\x40"


class Stored(NamedTuple):
    """A record as it is now. ``time`` is that of the event that brought it, in µs."""

    cid: bytes
    block: bytes
    time: int
    seq: int


class Signed(NamedTuple):
    """A commit: what ``#commit`` carries beside its envelope. ``blocks`` is the CAR."""

    rev: str
    since: str | None
    cid: bytes
    blocks: bytes
    ops: list[dict[str, Any]]
    prev_data: bytes | None


class Account:
    """A repository with one writer. Everything it emits can be proven with ``key`` and the chain."""

    def __init__(self, did: str, handle: str, key: PrivateKey, clock_id: int) -> None:
        self.did = did
        self.handle = handle
        self.key = key
        self.status: str | None = None
        self.tree = Tree.empty()
        self.rev: str | None = None
        self.head = b""
        self.records: dict[str, Stored] = {}
        """What commits brought, by path. Not what ``found`` put there before."""
        self._clock_id = clock_id
        self._commit_block = b""

    def found(self, time: int, records: Iterable[tuple[str, bytes]]) -> None:
        """Begin with a repository that is already there: (path, record CID), never seen on the wire."""
        for path, cid in records:
            self.tree = self.tree.put(path.encode(), cid)
        self._sign(time)

    def commit(self, time: int, seq: int, writes: Sequence[Write]) -> Signed:
        """Apply the writes in order and sign the result. No writes is an empty commit.

        As the reference host does, ``prev`` and the record blocks follow from the trees before and after:
        a record that the same commit deletes again leaves neither. Raises KeyError when a write does not fit.
        """
        old, since = self.tree, self.rev
        prev_data = old.root if since is not None else None
        brought: dict[bytes, bytes] = {}
        blank = Stored(b"", b"", time, seq)
        ops = [self._write(old, write, brought, blank) for write in writes]
        self._sign(time)
        blocks = new_blocks(old if since is not None else None, self.tree)
        blocks.update(proof_blocks(old, self.tree, [write.path.encode() for write in writes]))
        kept = {op["path"]: self.tree.get(op["path"].encode()) for op in ops}
        blocks.update(
            (op["cid"], brought[op["cid"]]) for op in ops if op["cid"] and kept[op["path"]] == op["cid"]
        )
        blocks[self.head] = self._commit_block
        assert self.rev is not None
        return Signed(self.rev, since, self.head, write_car(self.head, blocks), ops, prev_data)

    def _write(self, old: Tree, write: Write, brought: dict[bytes, bytes], blank: Stored) -> dict[str, Any]:
        key = write.path.encode()
        prev = old.get(key)
        op: dict[str, Any] = {"cid": None, "path": write.path, "action": write.action}
        if prev is not None:
            op["prev"] = prev
        if (self.tree.get(key) is not None) != (write.action != "create"):
            raise KeyError(f"{write.action} {write.path}")
        if write.block is None:
            self.tree = self.tree.delete(key)
            self.records.pop(write.path, None)
            return op
        cid = cid_of(write.block)
        self.tree = self.tree.put(key, cid)
        self.records[write.path] = blank._replace(cid=cid, block=write.block)
        brought[cid] = write.block
        op["cid"] = cid
        return op

    def _sign(self, time: int) -> None:
        rev = clock.tid(time + clock.STEP - 1, self._clock_id)
        assert self.rev is None or rev > self.rev
        # Spliced rather than encoded: 64 bytes of signature may look like anything to an encoder.
        head = libipld.encode_dag_cbor({"did": self.did, "rev": rev})[1:]
        tail = libipld.encode_dag_cbor({"data": self.tree.root, "prev": None, "version": 3})[1:]
        signature = self.key.sign(b"\xa5" + head + tail)
        self.rev = rev
        self._commit_block = b"\xa6" + head + _SIGNATURE + signature + tail
        self.head = cid_of(self._commit_block)

    def sync_car(self) -> bytes:
        """The CAR of a ``#sync``: the newest commit and nothing else."""
        return write_car(self.head, {self.head: self._commit_block})

    def document(self, pds: str) -> dict[str, Any]:
        """The DID document, with its key as Multikey. ``pds`` is the host's URL."""
        return {
            "@context": [
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/multikey/v1",
                "https://w3id.org/security/suites/secp256k1-2019/v1",
            ],
            "id": self.did,
            "alsoKnownAs": [f"at://{self.handle}"],
            "verificationMethod": [
                {
                    "id": f"{self.did}#atproto",
                    "type": "Multikey",
                    "controller": self.did,
                    "publicKeyMultibase": self.key.multikey(),
                }
            ],
            "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds}],
        }
