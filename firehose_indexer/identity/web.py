"""did:web: a document on a host of its own (spec/protocol §9)."""

from __future__ import annotations

import re
from typing import Final

from firehose_indexer.guard import is_name
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.outcome import DidSyntax
from firehose_indexer.identity.plc import ask_for_document
from firehose_indexer.outbound import Outbound

MAX_REDIRECTS: Final = 3
_REFUSED_TLDS: Final = frozenset(
    ("local", "arpa", "invalid", "localhost", "internal", "example", "onion", "alt", "test")
)
_localhost = re.compile(r"localhost(?:%3A[0-9]{1,5})?", re.IGNORECASE | re.ASCII).fullmatch


def allowed_tld(host: str, *, local: bool = False) -> bool:
    """Whether names under this top-level domain are anybody's to own. ``local``: in tests ``test`` is."""
    tld = host.rpartition(".")[2].lower()
    return tld not in _REFUSED_TLDS or (local and tld == "test")


def web_host(did: str, *, local: bool = False) -> str:
    """The host of a did:web, for ``localhost`` in tests with its port. Raises DidSyntax."""
    host = did.removeprefix("did:web:")
    if local and _localhost(host):
        return host.lower().replace("%3a", ":")
    host = host.lower()
    if "." not in host or host.endswith(".") or not is_name(host):
        raise DidSyntax("did:web names no plain host")
    if not allowed_tld(host, local=local):
        raise DidSyntax("did:web under a domain that nobody owns")
    return host


async def resolve_web(outbound: Outbound, host: str, did: str, seconds: float) -> Identity:
    """One attempt at ``web_host``'s host. Raises DidNotFound, DidDocument, Unanswered."""
    return await ask_for_document(outbound, document_url(host), did, seconds, redirects=MAX_REDIRECTS)


def document_url(host: str) -> str:
    """Where the document of ``web_host``'s host is."""
    scheme = "http" if host.partition(":")[0] == "localhost" else "https"
    return f"{scheme}://{host}/.well-known/did.json"
