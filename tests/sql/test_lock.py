"""sql/30_lock.sql: the rows of a batch are locked in one order."""

from __future__ import annotations

import asyncio

import psycopg

from pgdurable.database import connections
from tests.support.engine import Conn, start, value


async def test_a_batch_waits_for_its_first_row_before_it_takes_the_next(dsn: str, db: Conn) -> None:
    first, second = sorted([(await start(db)).response_id, (await start(db)).response_id])
    free = "select r.response_id from pgdurable.responses as r for update skip locked"
    async with await connections.connect(dsn, name="batch") as batch:
        with psycopg.connect(dsn) as person:
            person.execute(
                "select from pgdurable.responses where response_id = %s for update", [first]
            )
            waiting = asyncio.ensure_future(
                batch.execute("select pgdurable._lock_responses(%s)", [[second, first]])
            )
            pid = batch.info.backend_pid
            while not await value(db, "select cardinality(pg_blocking_pids(%s))", pid):
                await asyncio.sleep(0.01)
            assert await value(db, free) == second
        await waiting
