"""What every declaration must keep: a row or a reason, columns that exist, one declaration for one NSID."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firehose_indexer.errors import RecordError
from firehose_indexer.records.base import Collection, Note
from firehose_indexer.records.generic import generic
from firehose_indexer.records.registry import Registry
from firehose_indexer.records.rows import row_of
from firehose_indexer.repo.data import cid_of

REGISTRY = Registry.discover()
COLLECTIONS = [*REGISTRY.collections, generic("com.example.thing")]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LINK = b"\x01\x55\x12\x20" + bytes(32)
DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
URIS = st.sampled_from(
    [
        f"at://{DID}/app.bsky.feed.post/3k2a",
        f"at://{DID}/app.bsky.feed.repost/3k2a",
        "at://alice.test/app.bsky.feed.post/3k2a",
        "",
    ]
)
FIELDS = st.sampled_from(
    [
        "text",
        "subject",
        "via",
        "reply",
        "embed",
        "langs",
        "tags",
        "labels",
        "createdAt",
        "avatar",
        "pinnedPost",
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20) | st.binary(max_size=8)
)
NAMED = st.sampled_from([LINK, DID, "2024-05-01T00:00:00Z", "app.bsky.embed.record", "app.bsky.embed.images"])
STRONG = st.fixed_dictionaries({"uri": URIS | LEAVES}, optional={"cid": LEAVES})
KEYS = st.sampled_from(
    ["uri", "cid", "$type", "ref", "$link", "root", "parent", "record", "media", "items", "values", "val"]
) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES | NAMED | STRONG,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(FIELDS | st.text(max_size=6), VALUES, max_size=7)


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: collection.nsid)
@given(record=RECORDS, typed=st.booleans(), rkey=st.sampled_from(["self", "3k2a"]))
def test_any_record_is_a_row_or_a_reason(
    collection: Collection, record: dict[str, Any], typed: bool, rkey: str
) -> None:
    if typed:
        record = record | {"$type": collection.nsid}
    block = libipld.encode_dag_cbor(record)
    notes: list[Note] = []
    try:
        row = row_of(collection, DID, collection.nsid, rkey, cid_of(block), block, NOW, notes)
    except RecordError:
        return
    assert type(row) is collection.table.row
    assert all("\0" not in value for value in row if isinstance(value, str))
    for counter, key, column in collection.counts(row):
        assert column in counter.columns
        assert len(key) == len(counter.key)


@pytest.mark.parametrize("table", REGISTRY.tables, ids=lambda table: table.name)
async def test_declared_columns_are_those_of_the_table(database: str, table: Any) -> None:
    connection = await asyncpg.connect(database)
    try:
        found = await connection.fetch(
            "select column_name from information_schema.columns where table_schema = 'ix' and table_name = $1",
            table.name,
        )
    finally:
        await connection.close()
    assert sorted(name for (name,) in found) == sorted(table.columns)


def test_every_collection_with_a_handler_is_found_once() -> None:
    nsids = [collection.nsid for collection in REGISTRY.collections]
    assert len(nsids) == len(set(nsids)) >= 6
    with pytest.raises(ValueError, match="two declarations"):
        Registry([*REGISTRY.collections, REGISTRY.collections[0]])
