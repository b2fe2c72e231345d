"""Log lines: ``ts level event`` and keys, to stderr (spec/services (m)).

Events are ``noun.verb``. Text that peers wrote is cut to 200 characters with its control characters
escaped, credentials are masked, and a line that repeats is folded into one summary per minute.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from firehose_indexer.masking import mask

PEER_TEXT_LIMIT = 200
FOLD_AFTER = 10
FOLD_SECONDS = 60.0
_FOLD_KEYS = 1000


class Stream(Protocol):
    """Where lines go: stderr, or a console that keeps a live line under them."""

    def write(self, text: str, /) -> Any: ...
    def flush(self) -> Any: ...
    def isatty(self) -> bool: ...


class Log:
    """The log of one process: ``logger`` writes, this switches its level and unfolds its repeats."""

    logger: FilteringBoundLogger

    def __init__(
        self,
        level: str = "INFO",
        form: str = "auto",
        *,
        stream: Stream | None = None,
        colours: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._printer = structlog.PrintLogger(stream)  # type: ignore[arg-type]  # it asks for less than TextIO
        console = form == "console" or (form == "auto" and stream.isatty())
        self._usual = self.level = level
        self._fold = Fold(clock)
        self._processors: list[Processor] = [
            self._threshold,
            _clean,
            self._fold,
            _exception,
            _stamp,
            _console(colours) if console else _json,
        ]
        self.logger = structlog.wrap_logger(
            self._printer,
            processors=self._processors,
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=False,
        )
        self._fold.emit = self._emit

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Be the log of the whole process meanwhile: of ``structlog.get_logger()`` and of the libraries."""
        structlog.configure(
            processors=self._processors,
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            logger_factory=lambda *_: self._printer,
            cache_logger_on_first_use=False,
        )
        libraries, root = _Libraries(self.logger), logging.getLogger()
        root.addHandler(libraries)
        try:
            yield
        finally:
            root.removeHandler(libraries)
            structlog.reset_defaults()

    def toggle_debug(self) -> str:
        """Between DEBUG and the configured level (INFO when that is DEBUG). Returns the new one."""
        quiet = "INFO" if self._usual == "DEBUG" else self._usual
        self.level = quiet if self.level == "DEBUG" else "DEBUG"
        return self.level

    def unfold(self) -> None:
        """Say now what is being held back; for the end of the process."""
        self._fold.flush()

    def _threshold(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _rank(method) < _rank(self.level):
            raise structlog.DropEvent
        return event

    def _emit(self, method: str, event: str, folded: Mapping[str, Any]) -> None:
        self.logger.log(_rank(method), event, **folded)


@dataclass(slots=True)
class _Run:
    """How often one (event, reason) came since ``began``."""

    began: float
    method: str
    count: int = 0


class Fold:
    """Lets ten lines of one (event, reason) through per minute, then counts, then says how many.

    The summary carries ``folded``, the number of lines it stands for. Debug lines are never folded.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.emit: Callable[[str, str, Mapping[str, Any]], None] = lambda *_: None
        self._clock = clock
        self._runs: dict[tuple[str, Any], _Run] = {}

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if method == "debug" or "folded" in event:
            return event
        now = self._clock()
        self._close(now)
        run = self._runs.setdefault((event["event"], event.get("reason")), _Run(now, method))
        run.count += 1
        if run.count > FOLD_AFTER:
            raise structlog.DropEvent
        return event

    def flush(self) -> None:
        self._close(float("inf"))

    def _close(self, now: float) -> None:
        over = list(self._runs) if len(self._runs) >= _FOLD_KEYS else []
        over = over or [key for key, run in self._runs.items() if now - run.began >= FOLD_SECONDS]
        for key in over:
            run = self._runs.pop(key)
            if run.count > FOLD_AFTER:
                event, reason = key
                folded = {"folded": run.count - FOLD_AFTER, "seconds": int(FOLD_SECONDS)}
                self.emit(run.method, event, {"reason": reason, **folded} if reason is not None else folded)


class _Libraries(logging.Handler):
    """What asyncio and other libraries log, in our form."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # Libraries tell of ordinary trouble with our peers as errors; ours are told by ourselves.
        error = record.exc_info[1] if record.exc_info else None
        told = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
        self._logger.warning("library.said", reason=record.name, said=record.getMessage(), **told)


def _rank(level: str) -> int:
    return logging.ERROR if level == "exception" else logging.getLevelNamesMapping()[level.upper()]


def _clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: value if key == "exc_info" else _fit(value) for key, value in event.items()}


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return peer_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return _cid_text(value) if len(value) == 36 and value[0] == 1 else value[:64].hex()
    if isinstance(value, Mapping):
        return {peer_text(str(key)): _fit(item) for key, item in list(value.items())[:50]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_fit(item) for item in list(value)[:50]]
    return peer_text(str(value))


def peer_text(text: str) -> str:
    """Text of unknown origin as it may stand in a log line."""
    cut = mask(text[:4096])
    cut = cut if len(cut) <= PEER_TEXT_LIMIT else cut[: PEER_TEXT_LIMIT - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in cut
    )


def _cid_text(cid: bytes) -> str:
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def _exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event = structlog.processors.format_exc_info(logger, method, event)
    if "exception" in event:
        event["exception"] = mask(event["exception"])
    return event


def _stamp(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    level = "error" if method == "exception" else method
    return {"ts": at, "level": level, "event": event.pop("event"), **event}


def _json(_: WrappedLogger, __: str, event: MutableMapping[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _console(colours: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        sort_keys=False,
        timestamp_key="ts",
        exception_formatter=structlog.dev.plain_traceback,
    )
