"""Operations of the PLC directory as its export lists them (spec/services (a), PLC bulk import). Pure."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from firehose_indexer.identity.document import claimed_handle, host_url
from firehose_indexer.identity.outcome import Outcome
from firehose_indexer.identity.plc import is_plc
from firehose_indexer.repo.keys import Curve, b58decode


class Key(NamedTuple):
    """A signing key whose point nobody has looked at yet: that costs 60 µs, and most are never used."""

    curve: Curve
    point: bytes


class Operation(NamedTuple):
    """What an account's document says from ``created_at`` on. ``outcome`` not_found is a tombstone.

    ``nullified``: another operation has taken its place, it says nothing.
    ``key_named``: the document names a key; with ``key`` None it is one that we cannot use.
    """

    did: str
    cid: str
    created_at: datetime
    outcome: Outcome
    nullified: bool = False
    handle: str | None = None
    pds: str | None = None
    key_named: bool = False
    key: Key | None = None


def parse_operation(line: bytes | str) -> Operation:
    """One line of the export. Raises ValueError."""
    try:
        entry = json.loads(line)
        did, cid, body = entry["did"], entry["cid"], entry["operation"]
        created_at = datetime.fromisoformat(entry["createdAt"])
        nullified = entry["nullified"]
        kind = body["type"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("not an operation") from error
    if not isinstance(did, str) or not is_plc(did) or not isinstance(cid, str) or created_at.tzinfo is None:
        raise ValueError("not an operation")
    if nullified:
        return Operation(did, cid, created_at, Outcome.ok, nullified=True)
    if kind == "plc_tombstone":
        return Operation(did, cid, created_at, Outcome.not_found)
    if kind == "plc_operation":
        return _current(Operation(did, cid, created_at, Outcome.ok), body)
    if kind == "create":
        return _legacy(Operation(did, cid, created_at, Outcome.ok), body)
    raise ValueError("an operation of unknown type")


def _current(blank: Operation, body: dict[str, Any]) -> Operation:
    methods, services = body.get("verificationMethods"), body.get("services")
    key = methods.get("atproto") if isinstance(methods, dict) else None
    pds = services.get("atproto_pds") if isinstance(services, dict) else None
    if not isinstance(pds, dict) or pds.get("type") != "AtprotoPersonalDataServer":
        pds = {}
    return blank._replace(
        handle=claimed_handle(body.get("alsoKnownAs")),
        pds=host_url(pds.get("endpoint"), local=True),
        key_named=key is not None,
        key=_key(key),
    )


def _legacy(blank: Operation, body: dict[str, Any]) -> Operation:
    """The form of the first accounts; the directory makes the same document of it."""
    handle, service, key = body.get("handle"), body.get("service"), body.get("signingKey")
    return blank._replace(
        handle=claimed_handle([_prefixed(handle, "at://")]),
        pds=host_url(_prefixed(service, "https://"), local=True),
        key_named=key is not None,
        key=_key(key),
    )


def _prefixed(text: object, scheme: str) -> str:
    if not isinstance(text, str):
        return ""
    for known in (scheme, "http://", "https://"):
        if text.startswith(known):
            return scheme + text.removeprefix(known) if scheme == "at://" else text
    return scheme + text


def _key(text: object) -> Key | None:
    if not isinstance(text, str) or not text.startswith("did:key:z"):
        return None
    try:
        data = b58decode(text[9:])
    except ValueError:
        return None
    for curve in Curve:
        if data[:2] == curve.prefix and len(data) == 35:
            return Key(curve, data[2:])
    return None
