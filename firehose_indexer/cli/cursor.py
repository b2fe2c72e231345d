"""``cursor``: where the streams stand, and moving them by hand."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from firehose_indexer.cli.call import Call, show, show_json, talk
from firehose_indexer.cli.database import locked, opened
from firehose_indexer.cli.page import PlainPage
from firehose_indexer.cli.verb import Json, top, verb
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError

if TYPE_CHECKING:
    from firehose_indexer.ops.rewind import Mark
    from firehose_indexer.store.cursors import Cursor
    from firehose_indexer.stream.source import Source

_CURSOR = "Show or move where the streams are resumed."
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def register(app: App) -> None:
    cursor = App(
        name="cursor",
        help=_CURSOR,
        usage=top(
            _CURSOR,
            "firehose-indexer cursor",
            "VERB",
            ["firehose-indexer cursor show", "firehose-indexer cursor rewind 2h"],
        ),
        help_formatter=PlainPage(),
        help_format="plaintext",
        version_flags=(),
        group_commands=Group("Verbs", sort_key=0),
        group_parameters=Group("Options", sort_key=1),
    )
    app.command(cursor)

    @verb(
        cursor,
        "Print the watermark of every stream the database knows.",
        "firehose-indexer cursor show",
        "firehose-indexer cursor show --json",
        name="show",
        settings=("database",),
    )
    def show_cursors(call: Call, settings: Settings, *, json: Json = False) -> int:
        return call.wait_for(lambda: _show(settings, json=json))

    @verb(
        cursor,
        "Resume the relay's stream after SEQ, and name the gap that this leaves.",
        "firehose-indexer cursor set 9184467120",
        "firehose-indexer cursor set 9184467120 --relay-url wss://relay.example",
        name="set",
        usage="SEQ [OPTIONS]",
        settings=("source", "database"),
    )
    def set_cursor(
        call: Call,
        seq: Annotated[int, Parameter(help="The last seq that counts as done.")],
        /,
        settings: Settings,
    ) -> int:
        if not 0 <= seq < 2**63:
            raise ConfigError(f"{seq} is not a seq", hint="a whole number from 0")
        return call.wait_for(lambda: _set(settings, seq))

    @verb(
        cursor,
        "Resume the relay's stream from some time ago; what is there already stays.",
        "firehose-indexer cursor rewind 2h",
        "firehose-indexer cursor rewind 90m",
        usage="AGE [OPTIONS]",
        settings=("source", "database"),
    )
    def rewind(
        call: Call,
        age: Annotated[str, Parameter(help="How far back: 30s, 15m, 2h, 3d.")],
        /,
        settings: Settings,
    ) -> int:
        moment = datetime.now(UTC) - _age(age)
        return call.wait_for(lambda: _rewind(settings, moment))


async def _show(settings: Settings, *, json: bool) -> int:
    from firehose_indexer.store.cursors import cursors

    async with opened(settings) as database:
        found = await cursors(database.dsn)
    if json:
        show_json([_as_json(one) for one in found])
        return 0
    if not found:
        talk("no stream was followed yet")
    for one in found:
        at = "no event yet" if one.event_time is None else f"{one.event_time:%Y-%m-%d %H:%M:%S} UTC"
        show(f"{one.source}  {one.endpoint}  {one.watermark if one.watermark is not None else '-'}  {at}")
    return 0


async def _set(settings: Settings, seq: int) -> int:
    from firehose_indexer.store.cursors import cursors, move

    source = _source(settings)
    async with opened(settings) as database, locked(database.dsn) as lock:
        at = _of(source, await cursors(database.dsn))
        await lock.claim()
        await move(database.dsn, lock, at, seq, event_time=None, gap=at.watermark is not None)
    talk(f"{source.host}: watermark {at.watermark} → {seq}")
    return 0


async def _rewind(settings: Settings, moment: datetime) -> int:
    from firehose_indexer.ops.probe import first_event
    from firehose_indexer.ops.rewind import Mark, seq_at
    from firehose_indexer.store.cursors import cursors, move

    source = _source(settings)
    async with opened(settings) as database, locked(database.dsn) as lock:
        at = _of(source, await cursors(database.dsn))
        if at.watermark is None or at.event_time is None:
            raise ConfigError(f"{source.host} was not followed yet, so there is nothing to rewind")
        newest = Mark(at.watermark, at.event_time)
        if moment >= newest.time:
            raise ConfigError(
                f"the watermark is older than that already: {newest.time:%Y-%m-%d %H:%M:%S} UTC"
            )

        async def probe(seq: int) -> Mark:
            return await first_event(source, seq)

        found = await seq_at(moment, newest, probe)
        await lock.claim()
        await move(database.dsn, lock, at, found.seq, event_time=found.time, gap=False)
    talk(f"{source.host}: watermark {at.watermark} → {found.seq}, {found.time:%Y-%m-%d %H:%M:%S} UTC")
    return 0


def _source(settings: Settings) -> Source:
    from firehose_indexer.stream.source import parse_source

    return parse_source(settings.relay_url[0], allow_insecure=settings.stream_allow_insecure)


def _of(source: Source, found: Sequence[Cursor]) -> Cursor:
    """The stream's line, or the empty one of a stream that was never followed."""
    from firehose_indexer.store.cursors import Cursor

    for one in found:
        if (one.source, one.endpoint) == (source.host, source.endpoint):
            return one
    return Cursor(source.host, source.endpoint, None, None, None, datetime.now(UTC))


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not an age", hint="30s, 15m, 2h or 3d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _as_json(one: Cursor) -> dict[str, object]:
    return {
        "source": one.source,
        "endpoint": one.endpoint,
        "watermark": one.watermark,
        "received": one.received,
        "event_time": None if one.event_time is None else one.event_time.isoformat(),
        "updated_at": one.updated_at.isoformat(),
    }
