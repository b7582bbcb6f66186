"""Waiting for proof instead of sleeping a guess.

Each function polls a condition and raises `AssertionError` when it has not come true in time.
Timeouts are in seconds and generous: a passing test never waits for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString, TypeVar, cast

import psycopg

T = TypeVar("T")
TIMEOUT = 30.0


async def wait_until(
    condition: Callable[[], Awaitable[T] | T], *, timeout: float = TIMEOUT, what: str = ""
) -> T:
    """The first true value that `condition` (a function or a coroutine function) gives."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await cast("Awaitable[T]", value)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        await asyncio.sleep(0.01)


async def wait_for_row(
    conn: psycopg.AsyncConnection[Any],
    query: LiteralString,
    params: dict[str, Any] | tuple[Any, ...] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> Any:
    """The first row `query` finds, on a connection in autocommit."""

    async def find() -> Any:
        return await (await conn.execute(query, params)).fetchone()

    return await wait_until(find, timeout=timeout, what=query)


async def blocked_by(
    conn: psycopg.AsyncConnection[Any], blocker: int, *, timeout: float = TIMEOUT
) -> int:
    """The pid of a backend that waits for a lock which the backend `blocker` holds."""
    query: LiteralString = (
        "select pid from pg_stat_activity where %s = any (pg_blocking_pids(pid)) limit 1"
    )
    return int((await wait_for_row(conn, query, (blocker,), timeout=timeout))[0])


async def wait_until_blocked(
    conn: psycopg.AsyncConnection[Any], pid: int, *, timeout: float = TIMEOUT
) -> list[int]:
    """The pids that the backend `pid` waits for, once it waits for any."""
    query: LiteralString = (
        "select pg_blocking_pids(%(pid)s) where cardinality(pg_blocking_pids(%(pid)s)) > 0"
    )
    return list((await wait_for_row(conn, query, {"pid": pid}, timeout=timeout))[0])


def wait_until_sync(condition: Callable[[], T], *, timeout: float = TIMEOUT, what: str = "") -> T:
    """`wait_until` for tests without a loop."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)
    return value
