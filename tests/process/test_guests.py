"""Handlers that take what a process has: its default executor, its logs, all of its slots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from pgdurable.database import connections, queries
from pgdurable.logs import Repeated
from pgdurable.process import slots
from tests.support.engine import Conn
from tests.support.inside import inside, text_of
from tests.support.waiting import wait_until


@contextlib.asynccontextmanager
async def named(dsn: str) -> AsyncIterator[str]:
    """The database at an address that has to be looked up, where the tests' has a socket."""
    said = conninfo_to_dict(dsn)
    path = f"{said['host']}/.s.PGSQL.{said.get('port') or 5432}"

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_postgres, to_postgres = await asyncio.open_unix_connection(path)
        await asyncio.gather(pump(reader, to_postgres), pump(from_postgres, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield make_conninfo(
            dsn, host="localhost", port=port, sslmode="disable", gssencmode="disable"
        )


async def test_connections_come_back_while_handlers_block_the_default_executor(
    dsn: str, conn: Conn
) -> None:
    over = threading.Event()
    blocked: list[Any] = []

    async def blocks(request: Any) -> AsyncIterator[str]:
        if str(request.input[-1].content) == "block":
            loop = asyncio.get_running_loop()
            blocked.extend(loop.run_in_executor(None, over.wait) for _ in range(40))
        yield "said"

    async with named(dsn) as address, inside(address, blocks) as server:
        try:
            await server.finished(await server.post("block"))
            ended = await conn.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            assert await ended.fetchone() != (0,)

            async def answers() -> Any:
                url, body = f"{server.url}/responses", {"input": "hi"}
                async with server.session.post(url, json=body) as answer:
                    return answer.status == 200 and text_of(await answer.json()) == "said"

            async with asyncio.timeout(8):
                await wait_until(answers)
        finally:
            over.set()
            await asyncio.gather(*blocked)


async def test_slots_that_are_full_while_others_wait_are_said_and_a_free_one_costs_nothing(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.2)
    looked = 0
    oldest_wait = queries.oldest_wait

    async def counted(conn: Any, *, queue: str) -> Any:
        nonlocal looked
        looked += 1
        return await oldest_wait(conn, queue=queue)

    monkeypatch.setattr(queries, "oldest_wait", counted)

    async def calls_itself(request: Any) -> AsyncIterator[str]:
        if str(request.input[-1].content) == "call":
            url, body = f"{server.url}/responses", {"input": "answer"}
            async with server.session.post(url, json=body) as answer:
                yield text_of(await answer.json())
        yield "answered"

    async with inside(dsn, calls_itself, concurrency=1) as server:
        await server.finished(await server.post("answer"))
        assert looked == 0
        caller = await server.post("call")
        await wait_until(lambda: "slots_full" in caplog.text)
        assert "queue=default concurrency=1 oldest_wait=0." in caplog.text
        async with server.session.post(f"{server.url}/responses/{caller}/cancel"):
            pass
        await wait_until(lambda: server.runtime.worker and server.runtime.worker.free_slots)
        assert caplog.text.count("slots_full") == 1


async def test_what_the_pool_says_of_an_outage_comes_once_and_in_our_form(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_pool_fails", Repeated())
    told: list[logging.LogRecord] = []
    pool = logging.getLogger("psycopg.pool")

    def tell(record: logging.LogRecord) -> bool:
        told.append(record)
        return True

    monkeypatch.setattr(pool, "filters", [tell])
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    async with connections.open_pool(nowhere, size=1):
        await wait_until(lambda: len(told) > 1)
        theirs = AsyncConnectionPool(nowhere, open=False, name="theirs", min_size=1)
        await theirs.open()
        await wait_until(lambda: "error connecting in 'theirs'" in caplog.text)
        await theirs.close()

    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    ours = [record for record in warned if "theirs" not in record.getMessage()]
    assert [record.name for record in ours] == ["pgdurable.database.connections"]
    assert "Connection refused" in ours[0].getMessage()
