"""What a failed statement means for the one who sent it."""

from __future__ import annotations

from enum import StrEnum

import asyncpg


class Fault(StrEnum):
    """The four answers to an error from the database."""

    away = "away"  # the server is gone, restarting, full or overloaded: wait, then send the same again
    retry = "retry"  # a deadlock, a serialization failure: send the same again at once
    data = "data"  # a value the database refuses: find it and quarantine it
    fatal = "fatal"  # rights, missing tables, broken SQL: our own state, fail loudly


_AWAY = {
    "25006",  # read_only_sql_transaction: a standby after a failover, or a full managed disk
    "25P03",  # idle_in_transaction_session_timeout
    "40003",  # statement_completion_unknown
    "57014",  # query_canceled: the statement timeout
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
    "58030",  # io_error
}
_AWAY_CLASSES = {"08", "53"}  # connection exceptions; insufficient resources (disk, memory, connections)
_RETRY = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
}
_DATA_CLASSES = {"21", "22", "23", "44", "54"}  # cardinality, data, integrity, check option, program limits


def fault_of(error: BaseException) -> Fault:
    """Classify an error raised by asyncpg or by the network beneath it."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return Fault.retry
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error.sqlstate or "")
    if isinstance(error, asyncpg.InterfaceError):
        if isinstance(error, ValueError):  # asyncpg's own data error, raised before the value is sent
            return Fault.data
        return Fault.away if "connection is closed" in str(error) else Fault.fatal
    if isinstance(error, asyncpg.InternalClientError):  # what a session says that was ended under our hands
        return Fault.away
    if isinstance(error, UnicodeEncodeError | OverflowError):  # COPY's, raised unwrapped
        return Fault.data
    if isinstance(error, OSError):  # with it TimeoutError and ConnectionError
        return Fault.away
    return Fault.fatal


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later."""
    return fault_of(error) in {Fault.away, Fault.retry}


def _by_state(state: str) -> Fault:
    if state in _AWAY or state[:2] in _AWAY_CLASSES:
        return Fault.away
    if state in _RETRY:
        return Fault.retry
    return Fault.data if state[:2] in _DATA_CLASSES else Fault.fatal


def said(error: BaseException) -> str:
    """The server's sentence about an error, without the row that it likes to quote beneath."""
    sentence = str(error).partition("\n")[0][:300]
    state = getattr(error, "sqlstate", None)
    return f"{state}: {sentence}" if state else sentence
