"""A personal data server on loopback: the repositories of a world, as CARs and as JSON (protocol §7)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import libipld
from aiohttp import web

from firehose_indexer.repo.car import write_car
from firehose_indexer.repo.data import to_json
from firehose_indexer.repo.tree import new_blocks, proof_blocks
from firehose_indexer.sim.host import Host, Trouble

if TYPE_CHECKING:
    from firehose_indexer.sim.account import Account
    from firehose_indexer.sim.world import World

SYNC = "/xrpc/com.atproto.sync."
REPO = "/xrpc/com.atproto.repo."
_INACTIVE = {
    "deactivated": "RepoDeactivated",
    "suspended": "RepoSuspended",
    "takendown": "RepoTakendown",
}
