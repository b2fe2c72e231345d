"""A DID document as the few facts we live by (spec/protocol §9). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.identity.outcome import DidDocument
from firehose_indexer.repo.keys import PublicKey
from firehose_indexer.repo.syntax import is_handle

MAX_DOCUMENT: Final = 262_144
"""Bytes of a document."""


class Identity(NamedTuple):
    """What a document says. ``key`` None: ``key_problem`` tells why no commit of the account can be proven.

    ``handle`` is a claim, lower case. ``stale``: the document could not be asked for again in time.
    """

    did: str
    key: PublicKey | None
    key_problem: Reason | None
    pds: str | None
    handle: str | None
    labeler: str | None = None
    label_key: PublicKey | None = None
    stale: bool = False


def parse_document(did: str, body: bytes, *, local: bool = False) -> Identity:
    """Raises DidDocument: not JSON, not an object, or of another DID. ``local``: hosts may be http."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DidDocument("not JSON") from error
    return read_document(did, document, local=local)


def read_document(did: str, document: object, *, local: bool = False) -> Identity:
    """As ``parse_document``, of decoded JSON."""
    if not isinstance(document, dict):
        raise DidDocument("not an object")
    if document.get("id") != did:
        raise DidDocument("the document of another DID")
    key, problem = _key(document, did, "atproto")
    return Identity(
        did,
        key,
        problem,
        pds=_service(document, did, "atproto_pds", "AtprotoPersonalDataServer", local=local),
        handle=claimed_handle(document.get("alsoKnownAs")),
        labeler=_service(document, did, "atproto_labeler", "AtprotoLabeler", local=local),
        label_key=_key(document, did, "atproto_label")[0],
    )


def claimed_handle(names: object) -> str | None:
    """The first of ``alsoKnownAs`` that is at:// and a handle; it stays the claim if it does not verify."""
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name.startswith("at://") and is_handle(name[5:]):
            return name[5:].lower()
    return None


def host_url(endpoint: object, *, local: bool = False) -> str | None:
    """The endpoint of a service if it is a bare https URL; without a final slash. ``local``: or http."""
    if not isinstance(endpoint, str) or len(endpoint) > 2048 or not endpoint.isascii():
        return None
    try:
        parts = urlsplit(endpoint)
        good = (parts.scheme == "https" or (local and parts.scheme == "http")) and parts.port != 0
    except ValueError:
        return None
    bare = parts.path in {"", "/"} and not any(mark in endpoint for mark in "@?#\\")
    if not good or not bare or not parts.hostname or any(character <= " " for character in endpoint):
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _key(document: dict[str, Any], did: str, name: str) -> tuple[PublicKey | None, Reason | None]:
    method = next(_named(document, "verificationMethod", did, name), None)
    if method is None or method.get("controller") != did:
        return None, Reason.key_missing
    kind, text = method.get("type"), method.get("publicKeyMultibase")
    if not isinstance(kind, str) or not isinstance(text, str):
        return None, Reason.key_unsupported
    try:
        return PublicKey.from_method(kind, text), None
    except CommitError as error:
        return None, error.reason


def _service(document: dict[str, Any], did: str, name: str, kind: str, *, local: bool) -> str | None:
    service = next(_named(document, "service", did, name), None)
    if service is None or service.get("type") != kind:
        return None
    return host_url(service.get("serviceEndpoint"), local=local)


def _named(document: dict[str, Any], field: str, did: str, name: str) -> Iterator[dict[str, Any]]:
    """The entries of a list whose id is ``name``, relative or absolute."""
    entries = document.get(field)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("id") in (f"#{name}", f"{did}#{name}"):
            yield entry
