"""``resolve`` and ``plc-import``: who accounts are."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call, show, show_json
from firehose_indexer.cli.verb import Json, verb
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError, IndexerError

if TYPE_CHECKING:  # verbs load it when they need it
    from firehose_indexer.identity.document import Identity
    from firehose_indexer.ops.lookup import Lookup
    from firehose_indexer.ops.stage import Stage
    from firehose_indexer.repo.keys import PublicKey

_RESUMES = """\
Run it before the first start: the indexer must not be running. It can be
stopped at any time and goes on from there when called again."""


def register(app: App) -> None:
    @verb(
        app,
        "Tell who an account is, and which step said what; exits 1 if nobody can.",
        "firehose-indexer resolve alice.example.com",
        "firehose-indexer resolve did:plc:ewvi7nxzyoun6zhxrhs64oiz --json",
        usage="DID|HANDLE [OPTIONS]",
        settings=("identity",),
    )
    def resolve(
        call: Call,
        account: Annotated[str, Parameter(help="A DID, or a handle.")],
        /,
        settings: Settings,
        *,
        fresh: Annotated[
            bool,
            Parameter(
                negative="",
                help="Believe nothing kept. Nothing is kept between two calls yet, so as without.",
            ),
        ] = False,
        json: Json = False,
    ) -> int:
        from firehose_indexer.repo.syntax import is_did, is_handle

        subject = account.removeprefix("at://").removeprefix("@")
        if not is_did(subject) and not is_handle(subject):
            raise ConfigError(f"{account!r} is neither a DID nor a handle")
        return call.wait_for(lambda: _resolve(settings, subject, fresh=fresh, json=json))

    @verb(
        app,
        "Take who everybody is from the PLC directory at once, or from a file of it.",
        "firehose-indexer plc-import",
        "firehose-indexer plc-import plc-export.jsonl.zst",
        name="plc-import",
        usage="[FILE] [OPTIONS]",
        settings=("database", "identity", "process"),
        more=_RESUMES,
    )
    def plc_import(
        call: Call,
        file: Annotated[
            Path | None, Parameter(help="An export, one JSON per line: plain, *.gz or *.zst.")
        ] = None,
        /,
        *,
        settings: Settings,
    ) -> None:
        from firehose_indexer.importing import import_plc

        if file is not None and not file.is_file():
            raise ConfigError(f"there is no file {file}")

        async def job(stage: Stage) -> None:
            await import_plc(settings, file, stage)

        call.run(settings, job)


async def _resolve(settings: Settings, subject: str, *, fresh: bool, json: bool) -> int:
    from firehose_indexer.ops.lookup import as_json, look_up

    found = await look_up(settings, subject, fresh=fresh)
    if json:
        show_json(as_json(found))
    else:
        for name, text in lines(found):
            show(f"{name:<10}  {text}")
    if found.problem:
        hint = "firehose-indexer doctor --category identity" if found.unanswered else ""
        raise IndexerError(found.problem, hint=hint)
    return 0


def lines(found: Lookup) -> Iterator[tuple[str, str]]:
    """What is known as named lines, then what was asked and answered."""
    if found.did is not None:
        yield "did", found.did
    if found.identity is not None:
        yield from _facts(found.identity, found.handle_state)
    for step in found.steps:
        yield step.name, f"{step.asked} → {step.said}, {step.seconds * 1000:.0f} ms"


def _facts(identity: Identity, handle_state: str) -> Iterator[tuple[str, str]]:
    yield "handle", f"{identity.handle} ({handle_state})" if identity.handle else "none"
    yield "pds", identity.pds or "none"
    yield "key", _key(identity.key) if identity.key else f"none ({identity.key_problem})"
    if identity.labeler is not None:
        yield "labeler", identity.labeler
    if identity.label_key is not None:
        yield "label key", _key(identity.label_key)


def _key(key: PublicKey) -> str:
    return f"{key.did_key()} ({key.curve.name})"
