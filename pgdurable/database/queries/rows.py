"""How a query's rows become dataclasses, and a refusal its class in errors.py."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row, tuple_row

from pgdurable import errors
from pgdurable.database import connections

READ_ONLY = (
    "default_transaction_read_only is on in this session, and the server is no standby: a role, a "
    "database or another client of the same pooler has set it. Reset it there, and give pgdurable "
    "a pool of its own"
)

T = TypeVar("T")
Conn = AsyncConnection[Any]


async def fetch(conn: Conn, kind: type[T], query: str, **args: Any) -> list[T]:
    return await _fetch(conn, class_row(kind), query, args)


async def fetch_values(conn: Conn, query: str, **args: Any) -> list[Any]:
    return await _fetch(conn, scalar_row, query, args)


async def fetch_tuples(conn: Conn, query: str, **args: Any) -> list[tuple[Any, ...]]:
    return await _fetch(conn, tuple_row, query, args)


def milliseconds(lock_timeout: timedelta) -> str:
    """A lock_timeout as Postgres takes it."""
    return str(int(lock_timeout.total_seconds() * 1000))


async def _fetch(conn: Conn, factory: Any, query: str, args: dict[str, Any]) -> list[Any]:
    try:
        with connections.answered(conn):
            async with conn.cursor(row_factory=factory, binary=True) as cursor:
                await cursor.execute(query, args)
                return await cursor.fetchall()
    except psycopg.errors.ReadOnlySqlTransaction as exc:
        # A standby, or a primary that has become one: the next connection may find the other.
        by_setting = not await _is_standby(conn)
        await conn.close()
        if by_setting:
            raise errors.DatabaseUnavailable(READ_ONLY) from exc
        raise
    except psycopg.Error as exc:
        raise errors.from_database(exc) from exc


async def _is_standby(conn: Conn) -> bool:
    """Whether the server refuses writes itself; in doubt it does."""
    try:
        with connections.answered(conn):
            found = await conn.execute("select pg_catalog.pg_is_in_recovery()")
            return await found.fetchone() != (False,)
    except psycopg.Error:
        return True


def array_literal(values: Iterable[object]) -> str:
    """An array of ids, numbers, booleans or statuses: psycopg would look for what needs quotes."""
    return f"{{{','.join(map(str, values))}}}"
