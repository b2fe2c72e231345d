"""did:plc: ask the directory (spec/protocol §9)."""

from __future__ import annotations

import re

from firehose_indexer.answers import Answer
from firehose_indexer.guard import OutboundFailed, OutboundRefused
from firehose_indexer.identity.document import MAX_DOCUMENT, Identity, parse_document
from firehose_indexer.identity.outcome import DidDocument, DidNotFound, Unanswered
from firehose_indexer.outbound import Outbound

ACCEPT = "application/did+ld+json, application/json"
_RETRYABLE = frozenset((408, 425, 429))

is_plc = re.compile(r"did:plc:[a-z2-7]{24}", re.ASCII).fullmatch


async def resolve_plc(outbound: Outbound, directory: str, did: str, seconds: float) -> Identity:
    """One attempt. ``did`` has passed ``is_plc``. Raises DidNotFound, DidDocument, Unanswered."""
    return await ask_for_document(outbound, f"{directory}/{did}", did, seconds, redirects=0)


async def ask_for_document(
    outbound: Outbound, url: str, did: str, seconds: float, *, redirects: int
) -> Identity:
    """One GET of a DID document. Raises as ``resolve_plc``."""
    try:
        answer = await outbound.get(
            url, limit=MAX_DOCUMENT, seconds=seconds, redirects=redirects, accept=ACCEPT
        )
    except OutboundRefused as error:
        raise DidDocument(str(error)) from error
    except OutboundFailed as error:
        raise Unanswered(str(error)) from error
    raise_unanswered(answer)
    if answer.status in {404, 410}:
        raise DidNotFound(f"HTTP {answer.status}")
    if answer.status != 200:
        raise DidDocument(f"HTTP {answer.status}")
    return parse_document(did, answer.body, local=outbound.rules.local)


def raise_unanswered(answer: Answer) -> None:
    """Raises Unanswered for a status that may be another one next time."""
    if answer.status >= 500 or answer.status in _RETRYABLE:
        raise Unanswered(f"HTTP {answer.status}", retry_after=answer.retry_after)
