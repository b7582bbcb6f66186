"""Handlers that take what a process has: its default executor, its logs, all of its slots."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

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
