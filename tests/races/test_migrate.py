"""Functions are replaced under a running system, and nobody's call fails."""

from __future__ import annotations

import asyncio

from pgdurable.database import connections, schema
from tests.support.engine import Conn, append, claim, enqueue, finish, value


async def test_calls_go_on_while_the_functions_are_applied_again(dsn: str, db: Conn) -> None:
    stop = asyncio.Event()

    async def work(name: str) -> int:
        ended = 0
        async with await connections.connect(dsn, name=name) as conn:
            while not stop.is_set():
                await enqueue(conn)
                for held in await claim(conn, name, limit=2):
                    assert (await append(conn, held)).outcome == "ok"
                    assert (await finish(conn, held, after=2)).outcome == "ok"
                    ended += 1
        return ended

    workers = [asyncio.create_task(work(f"w{n}")) for n in range(3)]
    for _ in range(5):
        await asyncio.to_thread(schema.migrate, dsn, reapply=True)
    stop.set()
    ended = sum(await asyncio.gather(*workers))
    assert ended > 0
    completed = "select count(*) from pgdurable.responses as r where r.status = 'completed'"
    assert await value(db, completed) == ended
