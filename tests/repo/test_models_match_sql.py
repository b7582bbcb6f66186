"""The values of Python are those of SQL: rows, statuses, refusals."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgdurable import models
from pgdurable.database import queries
from pgdurable.errors import BY_SQLSTATE, DatabaseRefused
from pgdurable.models import Status
from tests.support.sql_sources import FILES, all_functions, field

ROWS: dict[str, type] = {
    "enqueued_response": models.EnqueuedResponse,
    "claimed_response": models.ClaimedResponse,
    "write_result": models.WriteResult,
    "lease_result": models.LeaseResult,
    "stored_event": models.Event,
    "response_snapshot": models.ResponseSnapshot,
    "stored_item": models.StoredItem,
    "chain_link": models.ChainLink,
    "conversation": models.Conversation,
    "listed_response": models.ListedResponse,
    "response_overview": queries.ResponseOverview,
    "worker_activity": queries.WorkerActivity,
}
PYTHON: dict[str, set[Any]] = {
    "text": {str, Status},
    "text[]": {list[str]},
    "integer": {int},
    "bigint": {int},
    "boolean": {bool},
    "json": {bytes},
    "json[]": {list[bytes]},
    "interval": {timedelta},
    "timestamp with time zone": {datetime},
}
RAISED_IN_PYTHON = {"PD005"}  # schema.check compares; no function of the schema could


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        yield connection


Conn = psycopg.Connection[tuple[Any, ...]]


def columns(conn: Conn, relation: str) -> dict[str, tuple[str, bool]]:
    """Name -> type and whether it may be null, in order."""
    found = conn.execute(
        """
        select a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull
        from pg_attribute as a
        where a.attrelid = ('pgdurable.' || %s)::regclass and a.attnum > 0 and not a.attisdropped
        order by a.attnum
        """,
        [relation],
    )
    return {name: (kind, nullable) for name, kind, nullable in found}


def fields(model: type) -> dict[str, tuple[Any, bool]]:
    """Name -> type and whether it may be None, in order."""
    found, hints = {}, typing.get_type_hints(model)
    for name in model.__annotations__:
        hint = hints[name]
        parts = set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}
        (kind,) = parts - {type(None)}
        found[name] = (kind, type(None) in parts)
    return found


def test_every_composite_type_has_its_dataclass(conn: Conn) -> None:
    found = conn.execute(
        "select c.relname from pg_class as c"
        " where c.relnamespace = 'pgdurable'::regnamespace and c.relkind = 'c'"
    )
    assert {name for (name,) in found} <= ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_a_dataclass_has_the_columns_of_its_row_in_order_and_their_types(
    conn: Conn, row: str
) -> None:
    stored, held = columns(conn, row), fields(ROWS[row])
    assert list(held) == list(stored)
    wrong = {name: kind for name, (kind, _) in held.items() if kind not in PYTHON[stored[name][0]]}
    assert wrong == {}


@pytest.mark.parametrize("row", ROWS)
def test_what_may_be_null_in_the_table_may_be_none_in_the_dataclass(conn: Conn, row: str) -> None:
    table = columns(conn, "workers" if row == "worker_activity" else "responses")
    nullable = {name for name, (_, null) in table.items() if null}
    held = fields(ROWS[row])
    assert {name for name in nullable & held.keys() if not held[name][1]} == set()


def test_a_view_of_one_table_may_be_none_only_where_that_may_be_null(conn: Conn) -> None:
    for row, table in {"response_overview": "responses", "worker_activity": "workers"}.items():
        stored, held = columns(conn, table), fields(ROWS[row])
        shared = stored.keys() & held.keys()
        assert len(shared) > 5
        assert {n for n in shared if held[n][1]} == {n for n in shared if stored[n][1]}


def test_a_record_of_an_attempt_is_columns_of_its_table(conn: Conn) -> None:
    stored, held = columns(conn, "attempts"), fields(queries.AttemptRecord)
    assert held.keys() <= stored.keys()
    for name, (kind, nullable) in held.items():
        assert kind in PYTHON[stored[name][0]] and nullable == stored[name][1], name


def quoted(conn: Conn, constraint: str) -> set[str]:
    row = conn.execute(
        "select pg_get_constraintdef(k.oid) from pg_constraint as k"
        " where k.connamespace = 'pgdurable'::regnamespace and k.conname = %s",
        [constraint],
    ).fetchone()
    assert row is not None, constraint
    return set(re.findall(r"'(\w+)'", row[0]))


def test_the_statuses_are_those_of_the_checks(conn: Conn) -> None:
    terminal = {status.value for status in Status if status.is_terminal}
    assert quoted(conn, "status_is_known") == {status.value for status in Status}
    assert quoted(conn, "finished_exactly_when_terminal") == terminal
    assert quoted(conn, "outcome_is_known") == terminal | {"lost", "stalled", "released"}


def test_every_refusal_has_its_class_and_every_class_its_refusal() -> None:
    raised = {state for function in all_functions().values() for state in function.refusals}
    ours = {sqlstate for sqlstate in raised if sqlstate.startswith("PD")}
    assert ours | RAISED_IN_PYTHON == BY_SQLSTATE.keys()
    assert ours & RAISED_IN_PYTHON == set()
    assert set(BY_SQLSTATE.values()) == set(DatabaseRefused.__subclasses__())


def test_a_refusal_is_named_alike_in_sql_and_in_python() -> None:
    compared = 0
    for path in FILES:
        for sqlstate, name in re.findall(r"\b(PD\d{3}) (\w+)", field(path, "raises")):
            if sqlstate not in RAISED_IN_PYTHON:
                words = "".join(word.title() for word in name.split("_"))
                assert BY_SQLSTATE[sqlstate].__name__.endswith(words), f"{path.name}: {name}"
                compared += 1
    assert compared > 6


def test_no_other_sqlstate_is_raised_than_ours_and_the_standard_s() -> None:
    raised = {state for function in all_functions().values() for state in function.refusals}
    assert {state for state in raised if not state.startswith("PD")} == {"22023"}
