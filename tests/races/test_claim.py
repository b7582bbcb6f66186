"""Claims against claims, and against whoever else wants a queued response."""

from __future__ import annotations

import asyncio

from pgdurable.database import connections, queries
from pgdurable.models import ClaimedResponse, Status
from tests.support.engine import (
    Conn,
    attempts_of,
    claim,
    enqueue,
    enqueue_all,
    new_response,
    state,
    value,
)
from tests.support.sessions import Session


async def test_nobody_waits_and_nobody_gets_what_another_is_claiming(
    a: Session, b: Session, db: Conn
) -> None:
    ids = [await enqueue(db) for _ in range(5)]
    async with a.conn.transaction():
        first = await claim(a.conn, "a", limit=3)
        second = await claim(b.conn, "b", limit=9)
    assert [held.response_id for held in first] == ids[:3]
    assert [held.response_id for held in second] == ids[3:]


async def test_a_claim_that_rolls_back_gives_it_back_untouched(
    a: Session, b: Session, db: Conn
) -> None:
    response_id = await enqueue(db)
    async with a.conn.transaction(force_rollback=True):
        await claim(a.conn, "a")
        assert await claim(b.conn, "b") == []
    (held,) = await claim(b.conn, "b")
    assert (held.attempt, held.last_seq) == (1, 1)
    assert await attempts_of(db, response_id) == [(1, "b", "claim", False, None)]


async def test_many_workers_drain_a_queue_each_within_its_limit_and_each_response_once(
    dsn: str, db: Conn
) -> None:
    await enqueue_all(db, [await new_response(db) for _ in range(200)])

    async def drain(worker: str) -> list[ClaimedResponse]:
        claimed: list[ClaimedResponse] = []
        async with await connections.connect(dsn, name=worker) as conn:
            while batch := await claim(conn, worker, limit=7):
                assert len(batch) <= 7
                claimed += batch
        return claimed

    drained = await asyncio.gather(*(drain(f"w{n}") for n in range(8)))
    ids = [held.response_id for batch in drained for held in batch]
    assert len(ids) == len(set(ids)) == 200
    assert {held.attempt for batch in drained for held in batch} == {1}
    assert await value(db, "select count(*) from pgdurable.attempts") == 200


async def test_a_cancel_that_came_first_leaves_nothing_to_claim(
    a: Session, b: Session, db: Conn
) -> None:
    response_id = await enqueue(db)
    async with a.conn.transaction():
        await queries.cancel_response(a.conn, response_id=response_id, principal="")
        assert await claim(b.conn) == []
    assert await claim(b.conn) == []


async def test_a_cancel_during_a_claim_waits_and_asks_the_new_owner(
    a: Session, b: Session, db: Conn
) -> None:
    response_id = await enqueue(db)
    async with a.conn.transaction():
        await claim(a.conn, "a")
        cancel = await b.blocked(
            a, queries.cancel_response(b.conn, response_id=response_id, principal="")
        )
    assert await cancel is Status.IN_PROGRESS
    row = await state(db, response_id)
    assert row["status"] == "in_progress" and row["cancel_requested_at"] is not None


async def test_a_delete_during_a_claim_waits_and_takes_everything(
    a: Session, b: Session, db: Conn
) -> None:
    response_id = await enqueue(db)
    async with a.conn.transaction():
        await claim(a.conn, "a")
        delete = await b.blocked(
            a, queries.delete_response(b.conn, response_id=response_id, principal="")
        )
    await delete
    for table in ("responses", "requests", "events", "attempts"):
        assert await value(db, f"select count(*) from pgdurable.{table}") == 0


async def test_a_delete_that_came_first_leaves_nothing_to_claim(
    a: Session, b: Session, db: Conn
) -> None:
    response_id = await enqueue(db)
    async with a.conn.transaction():
        await queries.delete_response(a.conn, response_id=response_id, principal="")
        assert await claim(b.conn) == []
    assert await claim(b.conn) == []
