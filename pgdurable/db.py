"""Connections: how every one of them is opened, and nothing else.

Nothing relies on session state, and nothing is prepared under a name, so `dsn` may lead through a
transaction pooler; only the listener needs Postgres itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.adapt import Loader
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgdurable import errors
from pgdurable.logs import redact_dsn

# A dead peer is noticed within about 30 s instead of Linux' two hours.
TCP = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class _RawJson(Loader):
    """json columns arrive as the stored bytes; nobody decodes an event on its way to a client."""

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


def _settings(application_name: str) -> dict[str, Any]:
    return {
        "autocommit": True,
        "prepare_threshold": None,
        "application_name": application_name,
        **TCP,
    }


def _adapt(conn: AsyncConnection[TupleRow] | Connection[TupleRow]) -> None:
    conn.adapters.register_loader("json", _RawJson)


async def connect(dsn: str, *, name: str) -> AsyncConnection[TupleRow]:
    """A connection of one's own, in autocommit; `name` shows in pg_stat_activity.

    Raises DatabaseUnavailable with the reason, never with the password.
    """
    try:
        conn = await AsyncConnection.connect(dsn, **_settings(name))
    except psycopg.OperationalError as exc:
        raise unavailable(dsn, exc) from exc
    _adapt(conn)
    return conn


def connect_sync(dsn: str, *, name: str) -> Connection[TupleRow]:
    """The same for the heartbeat thread, which must not depend on the event loop."""
    try:
        conn = Connection.connect(dsn, **_settings(name))
    except psycopg.OperationalError as exc:
        raise unavailable(dsn, exc) from exc
    _adapt(conn)
    return conn


@asynccontextmanager
async def open_pool(dsn: str, *, size: int) -> AsyncIterator[AsyncConnectionPool]:
    """The pool for requests; a connection is checked before it is lent out."""

    async def configure(conn: AsyncConnection[TupleRow]) -> None:
        _adapt(conn)

    pool = AsyncConnectionPool(
        dsn,
        kwargs=_settings("pgdurable"),
        min_size=1,
        max_size=size,
        open=False,
        timeout=5,
        configure=configure,
        check=AsyncConnectionPool.check_connection,
        reconnect_timeout=float("inf"),
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(timeout=2)


def unavailable(dsn: str, exc: Exception) -> errors.DatabaseUnavailable:
    """The error a person can act on: where, and what Postgres or the network said."""
    reason = " ".join(str(exc).split()) or type(exc).__name__
    return errors.DatabaseUnavailable(f"cannot connect to {redact_dsn(dsn)}: {reason}")


def is_outage(exc: BaseException) -> bool:
    """Is this worth trying again once the database is back?"""
    return isinstance(
        exc,
        psycopg.OperationalError
        | psycopg.InterfaceError
        | PoolTimeout
        | errors.DatabaseUnavailable,
    )


class OwnConnection:
    """A connection apart from the pool, opened when it is first needed and again when it broke."""

    def __init__(self, dsn: str, *, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._conn: AsyncConnection[TupleRow] | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> AsyncConnection[TupleRow]:
        """The open connection; raises DatabaseUnavailable."""
        if self._conn is None or self._conn.closed:
            async with self._opening:
                if self._conn is None or self._conn.closed:
                    self._conn = await connect(self._dsn, name=self._name)
        return self._conn

    async def close(self) -> None:
        """Close it, if it is open; never fails."""
        if self._conn is not None:
            with contextlib.suppress(psycopg.Error):
                await self._conn.close()
