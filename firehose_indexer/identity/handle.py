"""Handle → DID: the DNS, and the handle's own web server (spec/protocol §9). One attempt each."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from firehose_indexer.guard import OutboundFailed, OutboundRefused
from firehose_indexer.identity.cache import HandleState
from firehose_indexer.identity.outcome import DidFailed, HandleNotFound, ResolutionError, Unanswered
from firehose_indexer.identity.plc import raise_unanswered
from firehose_indexer.identity.web import MAX_REDIRECTS, allowed_tld
from firehose_indexer.names import Lame, NoSuchName
from firehose_indexer.outbound import Outbound
from firehose_indexer.repo.syntax import is_did, is_handle

MAX_WELL_KNOWN: Final = 2048
WELL_KNOWN: Final = "https://{handle}/.well-known/atproto-did"


class Ambiguous(HandleNotFound):
    """The DNS names more than one DID: nobody's answer is better than another's."""


Said = str | ResolutionError
"""What one of the two ways told: a DID, or why not."""


class Texts(Protocol):
    """Names, or a test's stand-in for it."""

    async def texts(self, name: str) -> list[bytes]: ...


def normal_handle(text: str, *, local: bool = False) -> str:
    """Lower case. Raises HandleNotFound for what is never looked up."""
    handle = text.lower()
    if not is_handle(handle) or not allowed_tld(handle, local=local):
        raise HandleNotFound("not a handle that can be looked up")
    return handle


def preferred(dns: Said, https: Said) -> str:
    """The DID of a handle, by the DNS if it names one. Raises why there is none."""
    if isinstance(dns, str):
        return dns
    if isinstance(dns, Ambiguous):
        raise dns
    if isinstance(https, str):
        return https
    # A no counts only if both have spoken.
    raise dns if isinstance(dns, DidFailed) else https


def verdict(did: str, said: Said) -> HandleState:
    """Whether the handle that ``did`` claims leads back to it."""
    if isinstance(said, DidFailed):
        return HandleState.unknown
    return HandleState.valid if said == did else HandleState.invalid


async def resolve_dns(texts: Texts, handle: str, seconds: float) -> str:
    """Raises HandleNotFound, Ambiguous, Unanswered."""
    try:
        async with asyncio.timeout(seconds):
            records = await texts.texts(f"_atproto.{handle}")
    except NoSuchName:
        raise HandleNotFound("no TXT record") from None
    except OSError as error:
        raise Unanswered(f"DNS: {error}", counts=not isinstance(error, Lame)) from error
    dids = {record[4:].decode("ascii", "replace") for record in records if record.startswith(b"did=")}
    if len(dids) > 1:
        raise Ambiguous("two DIDs in the DNS")
    return _did(next(iter(dids), ""))


async def resolve_https(outbound: Outbound, url: str, seconds: float) -> str:
    """``url`` is ``WELL_KNOWN`` of the handle. Raises HandleNotFound, Unanswered."""
    try:
        answer = await outbound.get(url, limit=MAX_WELL_KNOWN, seconds=seconds, redirects=MAX_REDIRECTS)
    except OutboundRefused as error:
        raise HandleNotFound(str(error)) from error
    except OutboundFailed as error:
        raise Unanswered(str(error)) from error
    raise_unanswered(answer)
    if not 200 <= answer.status < 300:
        raise HandleNotFound(f"HTTP {answer.status}")
    return _did(answer.body.partition(b"\n")[0].decode("ascii", "replace").strip())


def _did(text: str) -> str:
    if not is_did(text):
        raise HandleNotFound("no DID")
    return text
