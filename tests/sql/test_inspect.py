"""sql/95_inspect.sql: what a person asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, LiteralString

from psycopg.rows import dict_row

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    append,
    enqueue,
    finish,
    start,
    take_over,
    value,
)


async def rows(db: Conn, query: LiteralString) -> list[dict[str, Any]]:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query)
        return await cursor.fetchall()


async def test_the_overview_says_where_each_response_stands(db: Conn, clock: Clock) -> None:
    held = await start(db, conversation="c", principal="p", max_attempts=5)
    await append(db, held)
    clock.advance(timedelta(seconds=4))
    (seen,) = await rows(db, "select * from pgdurable.response_overview")
    assert (seen["status"], seen["attempt"], seen["failed_attempts"]) == ("in_progress", 1, "0/5")
    assert (seen["events"], seen["worker_id"], seen["cancel_requested"]) == (3, "a", False)
    assert timedelta(seconds=5) < seen["lease_left"] <= timedelta(seconds=6)
    assert seen["age"] >= timedelta(seconds=4)
    await finish(db, held, after=2)
    clock.advance(timedelta(days=1))
    (seen,) = await rows(db, "select * from pgdurable.response_overview")
    assert (seen["status"], seen["lease_left"]) == ("completed", None)
    assert seen["age"] > timedelta(days=1)
    assert seen["finished_at"] - seen["created_at"] < timedelta(minutes=1)


async def test_the_depth_of_each_queue(db: Conn, clock: Clock) -> None:
    await start(db)
    for _ in range(2):
        await enqueue(db)
    await value(db, """select pgdurable.enqueue_response('{"input":""}', p_delay => '1 hour')""")
    await enqueue(db, queue="other")
    clock.advance(timedelta(seconds=9))
    seen = {row["queue"]: row for row in await rows(db, "select * from pgdurable.queue_depth")}
    assert [seen["default"][n] for n in ("claimable", "delayed", "in_progress")] == [2, 1, 1]
    assert [seen["other"][n] for n in ("claimable", "delayed", "in_progress")] == [1, 0, 0]
    assert seen["other"]["oldest_wait"] >= timedelta(seconds=9)


async def test_the_stuck_ones_and_where_their_worker_was(db: Conn, clock: Clock) -> None:
    await queries.register_worker(
        db,
        worker_id="a",
        host="host-1",
        pid=42,
        queues=["default"],
        concurrency=4,
        version="1",
        agents=["agent"],
    )
    held = await start(db)
    assert await rows(db, "select * from pgdurable.expired_leases") == []
    clock.advance(PAST_LEASE)
    (stuck,) = await rows(db, "select * from pgdurable.expired_leases")
    assert (stuck["response_id"], stuck["worker_id"]) == (held.response_id, "a")
    assert (stuck["host"], stuck["pid"], stuck["attempt"]) == ("host-1", 42, 1)
    assert timedelta(0) < stuck["expired_for"] < LEASE
    await take_over(db, "never registered")
    clock.advance(PAST_LEASE)
    (stuck,) = await rows(db, "select * from pgdurable.expired_leases")
    assert (stuck["worker_id"], stuck["host"]) == ("never registered", None)


async def test_every_worker_and_what_it_holds(db: Conn, clock: Clock) -> None:
    for worker in ("a", "idle"):
        await queries.register_worker(
            db,
            worker_id=worker,
            host="h",
            pid=1,
            queues=["q"],
            concurrency=4,
            version="1",
            agents=["agent"],
        )
    await start(db)
    await start(db)
    await finish(db, await start(db))
    await queries.unregister_worker(db, worker_id="idle")
    clock.advance(timedelta(minutes=2))
    seen = {w["worker_id"]: w for w in await rows(db, "select * from pgdurable.worker_activity")}
    assert (seen["a"]["in_progress"], seen["a"]["stopped_at"]) == (2, None)
    assert seen["idle"]["in_progress"] == 0 and seen["idle"]["stopped_at"] is not None
    assert seen["a"]["silent_for"] >= timedelta(minutes=2)


async def test_every_conversation_and_where_it_is_now(db: Conn, clock: Clock) -> None:
    await start(db)
    held = await start(db, conversation="c")
    await append(db, held)
    clock.advance(PAST_LEASE)
    (again,) = [h for h in await take_over(db) if h.base_conversation_id]
    await finish(db, again)
    newest = await enqueue(db, conversation="c")
    (seen,) = await rows(db, "select * from pgdurable.conversation_overview")
    assert (seen["conversation_id"], seen["current_conversation_id"]) == (
        "c",
        again.conversation_id,
    )
    assert (seen["responses"], seen["active"], seen["latest_response_id"]) == (2, 1, newest)


async def test_on_an_empty_database_they_are_empty(db: Conn) -> None:
    for view in (
        "response_overview",
        "queue_depth",
        "expired_leases",
        "worker_activity",
        "conversation_overview",
    ):
        assert await value(db, f"select count(*) from pgdurable.{view}") == 0
