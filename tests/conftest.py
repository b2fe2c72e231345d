from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import database as databases

OUR_VARIABLES = {"ALLOW_PRIVATE_HOSTS", "COLLECTIONS", "COLLECTIONS_EXCLUDE", "CURSOR_START", "DATABASE_URL", "DATA_DIR", "DNS_SERVERS", "FUTURE_CURSOR",
                 "HTTP_BIND", "HYDRATE", "LABELERS", "LENIENT", "MEMORY_MB", "MIGRATE", "NOTIFICATIONS", "OUTBOUND_PROXY", "PLC_URL",
                 "PRIVACY", "PUBLIC_STATUS", "READY_LAG_SECONDS", "RELAY_URL", "SHARD", "SHUTDOWN_SECONDS", "VERIFY",
                 "WORKER_ID"}  # fmt: skip
OUR_PREFIXES = ("ADMIN_", "AUDIT_", "BACKFILL_", "BATCH_", "CAR_", "DATA_RETENTION_", "DB_", "FETCH_", "FIREHOSE",
                "LABEL_", "LOG_", "PDS_", "PENDING_", "PG", "PRUNE_", "QUARANTINE_", "RECORD_", "REPAIR_", "RESOLVER_",
                "RESYNC_", "STREAM_")  # fmt: skip


settings.register_profile("default", deadline=None)  # no test is about time
settings.register_profile("fuzz", deadline=None, max_examples=20_000)
settings.load_profile("default")


def pytest_configure() -> None:
    """The developer's shell does not leak into the tests."""
    for name in list(os.environ):
        if name in OUR_VARIABLES or name.startswith(OUR_PREFIXES):
            del os.environ[name]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The DSN of the Postgres server of this test run."""
    with databases.postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def database_template(server: str) -> Iterator[str]:
    with databases.template(server) as name:
        yield name


@pytest.fixture
async def database(server: str, database_template: str) -> AsyncIterator[str]:
    """The DSN of a fresh, migrated database of this test's own."""
    async with databases.copy_of(server, database_template) as dsn:
        yield dsn


@pytest.fixture
async def empty_database(server: str) -> AsyncIterator[str]:
    """The DSN of a fresh database without any schema of ours."""
    async with databases.copy_of(server, "template0") as dsn:
        yield dsn


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder in which an embedded server can run, also when the tests run as root."""
    with databases.throwaway_folder() as folder:
        yield folder
