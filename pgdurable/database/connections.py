"""Connections: how every one of them is opened, and nothing else.

Nothing relies on session state, and nothing is prepared under a name, so `dsn` may lead through a
transaction pooler; only the listener needs Postgres itself.

What a role, a database, an environment or a neighbour in the pooler has set changes nothing that is
said or read here: text is UTF-8, which the connection asks for and poolers keep per client, and all
else travels in binary form, which no setting touches (dates, intervals, arrays, numbers).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection, postgres
from psycopg.adapt import Loader, PyFormat
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.rows import TupleRow
from psycopg.types.array import BaseListDumper, ListBinaryDumper
from psycopg.types.datetime import TimedeltaBinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgdurable import errors, fork
from pgdurable.database.addresses import ResolvedConnection
from pgdurable.logs import LogEvent, Repeated, log, redact_dsn

logger = logging.getLogger(__name__)

# A dead peer is noticed within about 30 s instead of Linux' two hours.
TCP = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# TCP cannot notice a proxy that is alive and forwards nothing. No statement of ours takes as long,
# lock waits included, unless nobody is going to answer.
ANSWER_SECONDS = 20.0
POOL_SECONDS = 5.0
POOL_NAME = "pgdurable-requests"
# connect_timeout bounds every address of a host, this one all of them and what precedes them.
CONNECT_SECONDS = 15.0
CANCEL_SECONDS = 1.0
# A timer that fires this late has waited for the event loop, and so has the answer.
LATE_SECONDS = 1.0
# No statement of ours holds a row for so long. A person's open transaction may.
LOCK_TIMEOUT = timedelta(milliseconds=500)
# Between two tries of what the database was away for.
OUTAGE_PAUSE_SECONDS = 0.5

T = TypeVar("T")

_pool_fails = Repeated()
_opened: weakref.WeakSet[AsyncConnection[Any] | Connection[Any]] = weakref.WeakSet()


class _RawJson(Loader):
    """json columns arrive as the stored bytes; nobody decodes an event on its way to a client."""

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


class _RawBinaryJson(_RawJson):
    """The same bytes: the binary form of json is its text."""

    format = Format.BINARY


class _BinaryArray(ListBinaryDumper):
    """Binary even where it holds nothing but nulls: psycopg would write those as text, which
    `array_nulls = off` reads as words."""

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:
        if self._find_list_element(obj, format) is not None:
            return super().upgrade(obj, format)
        dumper = type(self)(self.cls, self._tx)
        dumper.oid = postgres.types["text"].array_oid
        return dumper


def settings(dsn: str, *, name: str) -> dict[str, Any]:
    """How every connection is opened; what the connection string says itself wins.

    Except for the encoding, without which nobody can read what another one wrote.
    """
    defaults = {"application_name": name, **TCP}
    said = conninfo_to_dict(dsn)
    return {
        "prepare_threshold": None,
        "client_encoding": "UTF8",
        **{key: value for key, value in defaults.items() if key not in said},
    }


def _adapt(conn: AsyncConnection[TupleRow] | Connection[TupleRow]) -> None:
    _opened.add(conn)
    require_utf8(conn)
    conn.adapters.register_loader("json", _RawJson)
    conn.adapters.register_loader("json", _RawBinaryJson)
    conn.adapters.register_dumper(timedelta, TimedeltaBinaryDumper)
    conn.adapters.register_dumper(list, _BinaryArray)


def _descriptors() -> Iterator[int]:
    """A farewell from a child would end the session of its parent."""
    for conn in list(_opened):
        with contextlib.suppress(psycopg.Error):  # it is closed
            yield conn.fileno()


fork.withhold(_descriptors)


def require_utf8(conn: AsyncConnection[Any] | Connection[Any]) -> None:
    """Refuse a database that cannot store every character; raises ConfigurationError."""
    encoding = conn.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise errors.ConfigurationError(
            f"the database {conn.info.dbname} is {encoding}, and pgdurable needs UTF8. Make one: "
            "create database NAME encoding 'UTF8' lc_collate 'C' lc_ctype 'C' template template0"
        )


async def connect(dsn: str, *, name: str) -> AsyncConnection[TupleRow]:
    """A connection of one's own, in autocommit; `name` shows in pg_stat_activity.

    Raises DatabaseUnavailable with the reason, never with the password.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            conn = await ResolvedConnection.connect(
                dsn, autocommit=True, **settings(dsn, name=name)
            )
    except TimeoutError as exc:
        raise errors.DatabaseUnavailable(f"cannot connect to {redact_dsn(dsn)}: no answer") from exc
    except psycopg.OperationalError as exc:
        raise unavailable(dsn, exc) from exc
    _adapt(conn)
    return conn


def connect_sync(dsn: str, *, name: str) -> Connection[TupleRow]:
    """The same for the heartbeat thread, which must not depend on the event loop."""
    try:
        conn = Connection.connect(dsn, autocommit=True, **settings(dsn, name=name))
    except psycopg.OperationalError as exc:
        raise unavailable(dsn, exc) from exc
    _adapt(conn)
    return conn


@asynccontextmanager
async def open_pool(dsn: str, *, size: int) -> AsyncIterator[AsyncConnectionPool]:
    """The pool for requests; a connection is checked before it is lent out."""

    async def configure(conn: AsyncConnection[TupleRow]) -> None:
        _adapt(conn)

    logging.getLogger("psycopg.pool").addFilter(_in_our_words)
    kind: type[AsyncConnection[TupleRow]] = ResolvedConnection
    pool = AsyncConnectionPool(
        dsn,
        connection_class=kind,
        name=POOL_NAME,
        kwargs={"autocommit": True, **settings(dsn, name="pgdurable")},
        min_size=1,
        max_size=size,
        open=False,
        timeout=POOL_SECONDS,
        configure=configure,
        check=_check,
        # Its delays double without a limit. Giving up ends them: the next request tries at once.
        reconnect_timeout=POOL_SECONDS,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(timeout=2)


def _in_our_words(record: logging.LogRecord) -> bool:
    """What psycopg_pool says of our pool: an outage, as we say it; the rest shows elsewhere."""
    said = record.args if isinstance(record.args, tuple) else ()
    if not any(isinstance(arg, ResolvedConnection) or POOL_NAME in str(arg) for arg in said):
        return True
    failures = [arg for arg in said if isinstance(arg, Exception)]
    if failures and _pool_fails.due():
        log(logger, logging.WARNING, LogEvent.DATABASE_LOST, reason=failures[0])
    return False


async def _check(conn: AsyncConnection[TupleRow]) -> None:
    with answered(conn, POOL_SECONDS):
        await conn.execute("")


@contextmanager
def answered(
    conn: AsyncConnection[Any], seconds: float = ANSWER_SECONDS, *, late: float = LATE_SECONDS
) -> Iterator[None]:
    """Hang up on a server that has not answered after `seconds`: psycopg then raises
    OperationalError, where a cancelled wait would first wait for the cancellation.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def wait_until(due: float) -> None:
        nonlocal timer
        timer = loop.call_at(due, give_up, due)

    def give_up(due: float) -> None:
        if loop.time() > due + late:
            wait_until(loop.time() + late)
        else:
            hang_up(conn)

    wait_until(loop.time() + seconds)
    try:
        yield
    finally:
        timer.cancel()


def hang_up(conn: AsyncConnection[Any] | Connection[Any]) -> None:
    """Break a connection that waits for an answer; callable from any thread."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(conn.fileno())) as peer,
    ):
        peer.shutdown(socket.SHUT_RDWR)


def unavailable(dsn: str, exc: Exception) -> errors.DatabaseUnavailable:
    """The error a person can act on: where, and what Postgres or the network said."""
    reason = " ".join(str(exc).split()) or type(exc).__name__
    return errors.DatabaseUnavailable(f"cannot connect to {redact_dsn(dsn)}: {reason}")


def is_outage(exc: BaseException) -> bool:
    """Is this worth trying again, soon or once the database is back?"""
    if isinstance(exc, psycopg.OperationalError):
        # 54, program_limit_exceeded: it is the statement, and it will not get smaller.
        return not (exc.sqlstate or "").startswith("54")
    return isinstance(
        exc,
        psycopg.InterfaceError
        | psycopg.errors.ReadOnlySqlTransaction
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


async def cancel_and_wait(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks that may wait for Postgres, and see them end; bounded.

    At the first cancellation psycopg asks the server to cancel the query and waits for that; at
    the second one it lets go.
    """
    left = set(tasks)
    for _ in range(2):
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)


async def through_outages(step: Callable[[], Awaitable[T]]) -> T:
    """What `step` answers, tried again for as long as the database is away."""
    while True:
        try:
            return await step()
        except Exception as exc:
            if not is_outage(exc):
                raise
        await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
