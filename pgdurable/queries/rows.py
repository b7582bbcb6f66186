"""How a query's rows become dataclasses, and a refusal its class in errors.py."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

from pgdurable import errors

T = TypeVar("T")
Conn = AsyncConnection[Any]


async def fetch(conn: Conn, kind: type[T], query: str, **args: Any) -> list[T]:
    try:
        async with conn.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query, args)
            return await cursor.fetchall()
    except psycopg.Error as exc:
        raise errors.from_database(exc) from exc


async def fetch_values(conn: Conn, query: str, **args: Any) -> list[Any]:
    try:
        async with conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(query, args)
            return await cursor.fetchall()
    except psycopg.Error as exc:
        raise errors.from_database(exc) from exc
