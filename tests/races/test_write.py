"""Writes of one owner against each other, against a cancel or a delete; the order of locks."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import connections, queries
from pgdurable.database.queries import Append, Finish
from pgdurable.errors import AlreadyFinished
from pgdurable.models import ClaimedResponse, Status
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    append,
    claim,
    delta,
    finish,
    log_of,
    release,
    start,
    state,
    terminal,
    types_of,
    value,
)
from tests.support.sessions import Session


async def cancel(conn: Conn, held: ClaimedResponse) -> Status:
    return await queries.cancel_response(conn, response_id=held.response_id, principal="")


async def delete(conn: Conn, held: ClaimedResponse) -> None:
    await queries.delete_response(conn, response_id=held.response_id, principal="")


async def test_an_append_that_waits_for_a_cancel_is_written_and_told(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        assert await cancel(a.conn, held) is Status.IN_PROGRESS
        write = await b.blocked(a, append(b.conn, held))
    result = await write
    assert (result.outcome, result.last_seq) == ("cancel", 2)


async def test_a_cancel_that_waits_for_an_append_is_heard_by_the_next(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        assert (await append(a.conn, held)).outcome == "ok"
        asked = await b.blocked(a, cancel(b.conn, held))
    assert await asked is Status.IN_PROGRESS
    assert (await append(db, held, after=2)).outcome == "cancel"


async def test_a_cancel_that_waits_for_a_finish_is_too_late(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await finish(a.conn, held)
        asked = await b.blocked(a, cancel(b.conn, held))
    with pytest.raises(AlreadyFinished):
        await asked
    assert (await state(db, held.response_id))["status"] == "completed"


async def test_a_finish_that_waits_for_a_cancel_still_ends_it(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await cancel(a.conn, held)
        ends = await b.blocked(a, finish(b.conn, held, Status.CANCELLED))
    assert (await ends).outcome == "ok"
    assert (await state(db, held.response_id))["status"] == "cancelled"


async def test_a_cancel_that_waits_for_a_release_ends_it_at_once(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await release(a.conn, held)
        asked = await b.blocked(a, cancel(b.conn, held))
    assert await asked is Status.CANCELLED
    assert await claim(db) == []


async def test_a_release_that_waits_for_a_cancel_ends_it_at_once(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await cancel(a.conn, held)
        back = await b.blocked(a, release(b.conn, held))
    assert (await back).outcome == "ok"
    assert (await state(db, held.response_id))["status"] == "cancelled"
    assert await claim(db) == []


@pytest.mark.parametrize(("again", "outcome"), [(Status.COMPLETED, "ok"), (Status.FAILED, "lost")])
async def test_of_two_finishes_one_writes(
    a: Session, b: Session, db: Conn, again: Status, outcome: str
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await finish(a.conn, held, Status.COMPLETED)
        second = await b.blocked(a, finish(b.conn, held, again))
    assert (await second).outcome == outcome
    assert await types_of(db, held.response_id) == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]


async def test_the_same_append_from_two_sessions_is_written_once(
    a: Session, b: Session, db: Conn
) -> None:
    """A flush whose commit has an unknown end may still be under way when it is repeated."""
    held = await start(db)
    async with a.conn.transaction():
        await append(a.conn, held, delta("x"), delta("y"))
        again = await b.blocked(a, append(b.conn, held, delta("x"), delta("y")))
    assert (await again).outcome == "ok"
    assert len(await log_of(db, held.response_id)) == 4


async def test_an_append_whose_first_try_rolled_back_is_written_by_the_second(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction(force_rollback=True):
        await append(a.conn, held)
        again = await b.blocked(a, append(b.conn, held))
    assert (await again).outcome == "ok"
    assert [event.seq for event in await log_of(db, held.response_id)] == [0, 1, 2]


async def test_an_append_that_waits_for_a_delete_is_lost(a: Session, b: Session, db: Conn) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await delete(a.conn, held)
        write = await b.blocked(a, append(b.conn, held))
    assert (await write).outcome == "lost"
    assert await value(db, "select count(*) from pgdurable.events") == 0


async def test_a_delete_that_waits_for_an_append_takes_its_events_too(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await append(a.conn, held)
        gone = await b.blocked(a, delete(b.conn, held))
    await gone
    assert await value(db, "select count(*) from pgdurable.events") == 0


async def test_nobody_sees_a_number_before_the_one_below_it(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await append(a.conn, held, delta("2"))
        later = await b.blocked(a, append(b.conn, held, delta("3"), after=2))
        assert len(await log_of(db, held.response_id)) == 2
    assert (await later).outcome == "ok"
    assert [event.seq for event in await log_of(db, held.response_id)] == [0, 1, 2, 3]


def appends(*held: ClaimedResponse) -> list[Append]:
    return [Append(h.response_id, h.attempt, h.last_seq, [delta()]) for h in held]


def finishes(*held: ClaimedResponse) -> list[Finish]:
    return [Finish(h.response_id, h.attempt, h.last_seq, terminal()) for h in held]


async def _append(conn: Conn, *held: ClaimedResponse) -> None:
    await queries.append_events(conn, appends(*held), lease=LEASE)


async def _finish(conn: Conn, *held: ClaimedResponse) -> None:
    await queries.finish_responses(conn, finishes(*held))


async def _release(conn: Conn, *held: ClaimedResponse) -> None:
    await queries.release_responses(conn, attempts={h.response_id: h.attempt for h in held})


async def _flush(conn: Conn, *held: ClaimedResponse) -> None:
    only_locks = [entry._replace(events=[]) for entry in appends(*held)]
    await queries.append_and_finish(conn, only_locks, finishes(*held), lease=LEASE)


BATCHES = {"append": _append, "finish": _finish, "release": _release, "flush": _flush}


@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_locks_in_the_order_of_the_ids_whatever_order_it_is_in(
    a: Session, b: Session, db: Conn, name: str
) -> None:
    """While it waits for the first, it holds nothing that anybody else could wait for."""
    held = sorted([await start(db) for _ in range(3)], key=lambda h: h.response_id)
    async with a.conn.transaction():
        await a.conn.execute(
            "select from pgdurable.responses where response_id = %s for update",
            [held[0].response_id],
        )
        batch = await b.blocked(a, BATCHES[name](b.conn, held[2], held[0], held[1]))
        free = await db.execute(
            "select r.response_id from pgdurable.responses as r"
            " order by r.response_id for update skip locked"
        )
        assert [row[0] for row in await free.fetchall()] == [h.response_id for h in held[1:]]
    await batch


@pytest.mark.parametrize(
    ("name", "column", "ahead"),
    [
        ("append", "lease_expires_at", LEASE),
        ("finish", "finished_at", timedelta(0)),
        ("release", "available_at", timedelta(0)),
        ("cancel", "cancel_requested_at", timedelta(0)),
    ],
)
async def test_what_had_to_wait_is_dated_after_the_wait(
    a: Session, b: Session, db: Conn, clock: Clock, name: str, column: str, ahead: timedelta
) -> None:
    """A lease that is counted from before the wait may have run out when it is stored."""
    held = await start(db)
    async with a.conn.transaction():
        await a.conn.execute("select from pgdurable.responses for update")
        call = cancel(b.conn, held) if name == "cancel" else BATCHES[name](b.conn, held)
        waiting = await b.blocked(a, call)
        clock.advance(PAST_LEASE)
        free_at = clock.now()
    await waiting
    assert (await state(db, held.response_id))[column] >= free_at + ahead


async def test_batches_in_opposite_orders_do_not_deadlock(dsn: str, db: Conn) -> None:
    held = [await start(db) for _ in range(8)]

    async def write(order: list[ClaimedResponse]) -> None:
        last_seq = {h.response_id: 1 for h in held}
        async with await connections.connect(dsn, name="writer") as conn:
            for _ in range(20):
                results = await queries.append_events(
                    conn,
                    [Append(h.response_id, 1, last_seq[h.response_id], [delta()]) for h in order],
                    lease=LEASE,
                )
                last_seq |= {r.response_id: (r.last_seq or 0) for r in results}

    await asyncio.gather(write(held), write(held[::-1]), write(held[4:] + held[:4]))
    gapless = await value(
        db,
        "select bool_and(s.n = s.last + 1) from (select count(*) as n, max(e.seq) as last"
        " from pgdurable.events as e group by e.response_id) as s",
    )
    assert gapless


async def test_a_batch_may_be_told_not_to_wait(a: Session, db: Conn) -> None:
    held = await start(db)
    async with a.conn.transaction():
        await a.conn.execute("select from pgdurable.responses for update")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await queries.append_events(
                db, appends(held), lease=LEASE, lock_timeout=timedelta(milliseconds=50)
            )
    assert (await append(db, held)).outcome == "ok"
