"""The SQL of a record table, generated from its declaration: here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from firehose_indexer.records.base import Counter, Row, Table

KEY_TYPES = {"actor_id": "int4", "coll": "int2", "rkey": "text"}


def column_type(column: str) -> str:
    """The SQL type of a key column, by the naming rules of ``records/base``."""
    for ending, kind in KEY_TYPES.items():
        if column.endswith(ending):
            return kind
    raise ValueError(f"{column} cannot be part of a key")


def unnest(columns: tuple[str, ...]) -> str:
    """A set of keys as parallel arrays (``array_literal``): one statement whatever their number."""
    arrays = ", ".join(f"${at}::text::{column_type(column)}[]" for at, column in enumerate(columns, 1))
    return f"unnest({arrays}) k({', '.join(columns)})"


def array_literal(values: Sequence[Any]) -> str:
    """Integers or texts as the text of a Postgres array.

    The driver looks at every element of a list several times before it writes it; Postgres reads this text
    in a fraction of that time.
    """
    if not values or isinstance(values[0], int):
        return "{" + ",".join(map(str, values)) + "}"
    joined = '","'.join(values)
    # what needs escaping is in no DID and no record key, so nearly always the quotes are the ones just put
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        joined = '","'.join(value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return '{"' + joined + '"}'


def matches(columns: tuple[str, ...]) -> str:
    return " and ".join(f"t.{column} = k.{column}" for column in columns)


class TableSql:
    """Statements and column positions of one table.

    ``actor_at``: positions holding accounts; ``coll_at``: positions holding NSIDs.
    """

    def __init__(self, table: Table) -> None:
        columns = table.columns
        self.table = table
        self.name = f"ix.{table.name}"
        self.columns = columns
        self.actor_at = tuple(at for at, column in enumerate(columns) if column.endswith("actor_id"))
        self.coll_at = tuple(at for at, column in enumerate(columns) if column.endswith("coll"))
        self.cid_at = columns.index("cid")
        self.key_of = _getter(columns, table.key)
        self.key_coll_at = tuple(at for at, column in enumerate(table.key) if column.endswith("coll"))
        light = ", ".join(f"null as {c}" if c in table.heavy else f"t.{c}" for c in columns)
        self.select = f"select {light} from {self.name} t join {unnest(table.key)} on {matches(table.key)}"
        self.delete = f"delete from {self.name} t using {unnest(table.key)} where {matches(table.key)}"
        self.mend_first_instant = (
            f"update {self.name} t set created_at = '0001-01-01 00:00:00+00' "
            f"from {unnest(table.key)} where {matches(table.key)}"
        )
        if table.group:
            self._group(light)

    def _group(self, light: str) -> None:
        group = ("actor_id", *self.table.group)
        self.group_of = _getter(self.columns, group)
        self.group_coll_at = tuple(at for at, column in enumerate(group) if column.endswith("coll"))
        visible, shadows = (
            f"select {light} from {self.name} t join {unnest(group)} on {matches(group)} and {which}"
            for which in ("not t.shadow", "t.shadow")
        )
        self.select_groups = f"{visible} union all {shadows}"
        names = ", ".join(f"t.{column}" for column in group)
        self.probe_groups = (
            f"select {names} from {self.name} t join {unnest(group)} on {matches(group)} and not t.shadow"
        )
        self.set_shadow = f"update {self.name} t set shadow = not shadow from {unnest(self.table.key)} where {matches(self.table.key)}"


class CounterSql:
    """Statements of one column of a counter table. Parameters: the key columns and the units, as arrays."""

    def __init__(self, counter: Counter, column: str) -> None:
        name, key = f"ix.{counter.table}", counter.key
        arrays = ", ".join(f"${at}::text::{column_type(part)}[]" for at, part in enumerate(key, 1))
        units = f"unnest({arrays}, ${len(key) + 1}::text::int4[])"
        # the proposed row of an upsert is checked before the conflict is found, so only what grows may use it
        self.add = (
            f"insert into {name} as t ({', '.join(key)}, {column}) select * from {units} "
            f"on conflict ({', '.join(key)}) do update set {column} = t.{column} + excluded.{column}"
        )
        self.take = (
            f"update {name} t set {column} = t.{column} + k.{column} "
            f"from {units} k({', '.join(key)}, {column}) where {matches(key)}"
        )


def _getter(columns: tuple[str, ...], wanted: tuple[str, ...]) -> Any:
    """Picks ``wanted`` out of a row, always as a tuple."""
    positions = [columns.index(column) for column in wanted]
    if len(positions) > 1:
        return itemgetter(*positions)
    at = positions[0]

    def single(row: Row) -> tuple[Any, ...]:
        return (row[at],)

    return single
