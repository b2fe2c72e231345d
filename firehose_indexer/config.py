"""Every setting, once: name, type, default, legal values, one sentence (spec/services (n)).

A value comes from a flag, else the environment, else ``firehose.toml``, else the default, and
remembers which. Nothing is corrected silently: a value out of range, or a variable with one of our
prefixes that we do not know, is a ``ConfigError``. The environment is read in this file only.
"""

# ruff: noqa: RUF009  # _setting() declares a field, it computes nothing

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from firehose_indexer.errors import ConfigError
from firehose_indexer.kinds import (
    ADDRESS,
    ADDRESSES,
    DSN,
    FOLDER,
    SWITCH,
    URL,
    WORDS,
    Bind,
    Kind,
    choice,
    did_you_mean,
    whole,
)
from firehose_indexer.masking import mask

T = TypeVar("T")

GROUPS = ("source", "database", "batch", "identity", "quarantine", "recording", "server", "process")

NOTES = {
    "identity": "`run` verifies nothing in this version, so it asks for no identity: `resolve`, `plc-import` and"
    " `doctor` do. What it heeds of these is `DNS_SERVERS` and `ALLOW_PRIVATE_HOSTS`, when a relay redirects it."
    " RELAY_URL itself is your own choice, and may be private."
}
"""By group: what its sentences cannot say."""

PREFIXES = (
    *("RESOLVER_", "FETCH_", "PENDING_", "LABEL_", "BACKFILL_", "RESYNC_", "AUDIT_", "PRUNE_"),
    *("QUARANTINE_", "STREAM_", "BATCH_", "RECORD_", "CAR_", "REPAIR_"),
)

WITHOUT_EFFECT = {
    "BACKFILL_BATCH_SIZE": "batches size themselves",
    "BACKFILL_BATCH_DELAY_MS": "batches pace themselves",
    "BACKFILL_USE_IDLE": "batches pace themselves",
    "BACKFILL_DB_POOL_SIZE": "there is one pool, DB_POOL_SIZE",
    "WORKER_ID": "there is one writer per database",
}
"""Names of the older system that are accepted, do nothing, and say so."""

_NO_COUNTERPART = ("CONSUMER_ID", "PARALLEL_CONSUMERS")

_PROCESS_MB = 128
"""What the process itself takes before any queue holds a byte."""


class Setting(NamedTuple):
    """What is known of one field of ``Settings`` beyond its Python type."""

    name: str
    group: str
    kind: Kind
    sentence: str
    default: Any
    shown_default: str
    secret: bool

    @property
    def env(self) -> str:
        return self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def show(self, value: Any) -> str:
        """The value as text that parses back to it; credentials masked."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, tuple) and not isinstance(value, Bind):
            value = ",".join(value)
        return mask(str(value))


def _setting(
    group: str, kind: Kind, default: T, sentence: str, *, shown: str = "", secret: bool = False
) -> T:
    found: T = field(
        default=default,
        repr=not secret,
        metadata={"group": group, "kind": kind, "sentence": sentence, "shown": shown, "secret": secret},
    )
    return found


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user decides. ``origins`` says where each value that is no default came from."""

    relay_url: tuple[str, ...] = _setting(
        "source", WORDS, ("wss://bsky.network",), "The relay to follow; several mean failover in order."
    )
    cursor_start: str = _setting(
        "source", choice("live", "oldest"), "live", "Where the first start ever begins; later ones resume."
    )
    future_cursor: str = _setting(
        "source",
        choice("halt", "live", "oldest"),
        "halt",
        "What to do when the relay says that our cursor is in the future.",
    )
    stream_queue_mb: int = _setting(
        "source", whole(1, 4096), 64, "MB that may wait between socket and decoder."
    )
    stream_allow_insecure: bool = _setting("source", SWITCH, False, "Allow ws:// beyond loopback.")
    verify: str = _setting(
        "source",
        choice("off"),
        "off",
        "Which proof a commit needs; this version has only `off`: nothing is proven.",
    )

    database_url: str | None = _setting(
        "database",
        DSN,
        None,
        "Postgres 15 or newer; without it an embedded server runs in DATA_DIR.",
        shown="embedded",
        secret=True,
    )
    db_pool_size: int = _setting("database", whole(4, 1000), 20, "Connections to the database in total.")
    db_wait_seconds: int = _setting(
        "database", whole(0, 86_400), 60, "Seconds to wait for the database at start."
    )
    db_statement_seconds: int = _setting(
        "database", whole(1, 3600), 60, "Seconds that one statement may take."
    )
    migrate: bool = _setting("database", SWITCH, True, "Apply migrations at start.")
    data_dir: Path = _setting(
        "database", FOLDER, Path("data"), "Folder of the embedded database.", shown="./data"
    )

    batch_ops: int = _setting("batch", whole(1, 100_000), 2000, "Operations that close a batch.")
    batch_mb: int = _setting("batch", whole(1, 256), 8, "MB that close a batch.")
    batch_milliseconds: int = _setting("batch", whole(10, 60_000), 500, "Milliseconds that close a batch.")
    memory_mb: int = _setting("batch", whole(256, 1_048_576), 2048, "MB of memory that the process may use.")

    plc_url: str = _setting(
        "identity", URL, "https://plc.directory", "Directory that `resolve`, `plc-import` and `doctor` ask."
    )
    resolver_concurrency: int = _setting(
        "identity",
        whole(1, 1000),
        15,
        "Questions of a resolver in flight at a time.",
    )
    resolver_cache_size: int = _setting(
        "identity", whole(1000, 10_000_000), 100_000, "Identities held in memory, about 1 KB each."
    )
    resolver_cache_ttl_hours: int = _setting(
        "identity",
        whole(1, 720),
        24,
        "Hours that an identity, asked for or imported, is believed; it is renewed after half of them.",
    )
    resolver_negative_ttl_seconds: int = _setting(
        "identity",
        whole(1, 86_400),
        3600,
        "Seconds that a not-found is believed; doubled each time, to a day.",
    )
    resolver_retries: int = _setting("identity", whole(0, 20), 3, "Further tries when nobody answers.")
    resolver_timeout_seconds: int = _setting(
        "identity", whole(1, 300), 15, "Seconds for one resolution with its retries."
    )
    resolver_breaker_failures: int = _setting(
        "identity", whole(1, 1000), 5, "Failures in a row after which a host is left alone."
    )
    resolver_breaker_open_seconds: int = _setting(
        "identity", whole(1, 600), 60, "Seconds that it is left alone at first."
    )
    dns_servers: tuple[str, ...] | None = _setting(
        "identity", ADDRESSES, None, "DNS servers to ask for hosts and handles.", shown="system"
    )
    outbound_proxy: str | None = _setting(
        "identity",
        URL,
        None,
        "Proxy for HTTP, not for relays; it must itself refuse private addresses.",
        shown="none",
        secret=True,
    )
    allow_private_hosts: bool = _setting(
        "identity",
        SWITCH,
        False,
        "Allow http, any port and private addresses, where a relay redirects us included: for tests and devnets.",
    )

    quarantine_max_mb: int = _setting(
        "quarantine", whole(1, 1_048_576), 2048, "MB of quarantined bodies before /readyz turns red."
    )

    record_dir: Path | None = _setting(
        "recording", FOLDER, None, "Record every frame into this folder.", shown="off"
    )
    record_max_mb: int = _setting("recording", whole(1, 1_048_576), 1024, "MB that close one recording file.")

    http_bind: Bind = _setting(
        "server", ADDRESS, Bind("127.0.0.1", 2490), "Address of /healthz, /readyz, /metrics and /status."
    )
    ready_lag_seconds: int = _setting(
        "server", whole(1, 86_400), 60, "Seconds of lag before /readyz turns red."
    )

    log_level: str = _setting(
        "process", choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "The least important line to log."
    )
    log_format: str = _setting(
        "process",
        choice("auto", "console", "json"),
        "auto",
        "Form of the log; auto is console on a terminal.",
    )
    shutdown_seconds: int = _setting("process", whole(1, 600), 25, "Seconds to drain after the first signal.")

    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    notices: tuple[str, ...] = field(default=(), compare=False)
    """Lines to say once at start: names that are accepted and do nothing."""

    def __post_init__(self) -> None:
        if self.fixed_mb > self.memory_mb:
            raise ConfigError(
                f"MEMORY_MB is {self.memory_mb}, but the queues and the process alone may take {self.fixed_mb}",
                hint="raise MEMORY_MB, or lower STREAM_QUEUE_MB or BATCH_MB",
            )

    @property
    def fixed_mb(self) -> int:
        """MB promised away: the process, the stream queue, and a batch each filling, waiting, written."""
        return _PROCESS_MB + self.stream_queue_mb + 3 * self.batch_mb

    def origin(self, name: str) -> str:
        """Where the value came from: ``--flag``, ``ENV_NAME``, a file, or ``default``."""
        return self.origins.get(name, "default")


def _describe(one: Field[Any]) -> Setting:
    about = one.metadata
    bare = Setting(
        one.name, about["group"], about["kind"], about["sentence"], one.default, "", about["secret"]
    )
    return bare._replace(shown_default=about["shown"] or bare.show(one.default))


SETTINGS: Mapping[str, Setting] = {f.name: _describe(f) for f in fields(Settings) if f.metadata}
"""Every setting by field name, in the order of the groups."""


def load(
    flags: Mapping[str, str | bool] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force.

    ``flags`` maps field names to what stood on the command line. ``file`` must exist when given; else
    ``firehose.toml`` of the working directory is read if there is one. ``environ`` defaults to the process's.
    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    _refuse_unknown(environ)
    texts: dict[str, tuple[str, str]] = {}
    for layer in (_file_layer(file), _env_layer(environ), _flag_layer(flags or {})):
        texts |= layer
    values = {name: _value(SETTINGS[name], text, origin) for name, (text, origin) in texts.items()}
    origins = {name: origin for name, (_, origin) in texts.items()}
    return Settings(**values, origins=origins, notices=_notices(environ))


def colour_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """False when ``NO_COLOR`` is set to anything (no-color.org), or the terminal is dumb."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def debug_wanted(flags: Mapping[str, str | bool], environ: Mapping[str, str] | None = None) -> bool:
    """Whether DEBUG was asked for, answered also when the rest of the settings cannot be loaded."""
    environ = os.environ if environ is None else environ
    return str(flags.get("log_level", environ.get("LOG_LEVEL", ""))).upper() == "DEBUG"


def search_path() -> str:
    """``PATH``, for finding programs of other people (psql)."""
    return os.environ.get("PATH", os.defpath)


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The process's environment plus ``extra``, for a program that we start for the user."""
    return {**os.environ, **extra}


def _value(setting: Setting, text: str, origin: str) -> Any:
    try:
        return setting.kind.parse(text)
    except ValueError as error:
        shown = mask(text) if len(text) <= 80 else mask(text)[:80] + "…"
        raise ConfigError(
            f"{setting.env} is {shown!r}, which {error}\n  (from {origin})",
            hint=setting.kind.legal,
        ) from None


def _flag_layer(flags: Mapping[str, str | bool]) -> dict[str, tuple[str, str]]:
    texts = {name: value if isinstance(value, str) else str(int(value)) for name, value in flags.items()}
    return {name: (text, SETTINGS[name].flag) for name, text in texts.items()}


def _env_layer(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    layer = {}
    for name, setting in SETTINGS.items():
        if (text := environ.get(setting.env, "").strip()) != "":
            layer[name] = (text, setting.env)
        if setting.secret and (path := environ.get(setting.env + "_FILE", "")):
            if name in layer:
                raise ConfigError(
                    f"both {setting.env} and {setting.env}_FILE are set", hint="set one of them"
                )
            layer[name] = (_read(Path(path), setting.env + "_FILE").strip(), setting.env + "_FILE")
    return layer


def _file_layer(file: Path | None) -> dict[str, tuple[str, str]]:
    path = file or Path("firehose.toml")
    if file is None and not path.exists():
        return {}
    try:
        table = tomllib.loads(_read(path, "--config" if file else "the working directory"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for key in table:
        if key not in SETTINGS:
            raise ConfigError(f"{path}: {key} is not a setting{did_you_mean(key, SETTINGS)}", hint=_ALL)
    return {key: (_toml_text(path, key, value), str(path)) for key, value in table.items()}


def _toml_text(path: Path, key: str, value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | int):
        return str(value)
    raise ConfigError(f"{path}: {key} must be text, a whole number, true or false, or a list of text")


def _read(path: Path, origin: str) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint=f"check {origin}") from None


_ALL = "firehose-indexer config    lists every setting"


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {s.env for s in SETTINGS.values()} | set(WITHOUT_EFFECT)
    known |= {s.env + "_FILE" for s in SETTINGS.values() if s.secret}
    unknown = sorted(name for name in environ if name.startswith(PREFIXES) and name not in known)
    if unknown:
        lines = [f"{name} is not a setting{did_you_mean(name, known)}" for name in unknown]
        raise ConfigError("\n  ".join(lines), hint=_ALL)


def _notices(environ: Mapping[str, str]) -> tuple[str, ...]:
    said = [f"{name} has no effect: {why}" for name, why in WITHOUT_EFFECT.items() if name in environ]
    redis = sorted(name for name in environ if name.startswith("REDIS_") or name in _NO_COUNTERPART)
    if redis:
        said.append(f"{', '.join(redis)}: there is no Redis and no second stage here, these have no effect")
    return tuple(said)
