"""sql/45_heartbeat.sql: all leases of a worker in one statement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import connections, queries
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    finish,
    release,
    start,
    state,
    take_over,
    value,
)


@pytest.fixture
def thread(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The heartbeat thread's connection."""
    with connections.connect_sync(dsn, name="heartbeat") as conn:
        yield conn


def beat(conn: psycopg.Connection[tuple[object, ...]], **attempts: int) -> dict[str, str]:
    results = queries.heartbeat(conn, worker_id="a", attempts=attempts, lease=LEASE)
    return {result.response_id: result.outcome for result in results}


async def register(db: Conn, worker: str = "a") -> None:
    await queries.register_worker(
        db,
        worker_id=worker,
        host="h",
        pid=7,
        queues=["q"],
        concurrency=3,
        version="0",
        agents=["agent"],
    )


async def test_a_beat_renews_the_lease_from_now(
    db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    held = await start(db)
    clock.advance(timedelta(seconds=5))
    before = clock.now()
    assert beat(thread, **{held.response_id: 1}) == {held.response_id: "ok"}
    expires = (await state(db, held.response_id))["lease_expires_at"]
    assert before + LEASE <= expires <= clock.now() + LEASE


async def test_a_late_beat_saves_a_lease_that_nobody_has_taken(
    db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    held = await start(db)
    clock.advance(PAST_LEASE)
    assert beat(thread, **{held.response_id: 1}) == {held.response_id: "ok"}
    assert await take_over(db) == []


async def test_what_is_not_ours_any_more_is_lost_and_not_renewed(
    db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    taken, finished, released, deleted = [await start(db) for _ in range(4)]
    clock.advance(PAST_LEASE)
    await finish(db, finished)
    await release(db, released)
    await queries.delete_response(db, response_id=deleted.response_id, principal="")
    await take_over(db)
    expires = (await state(db, taken.response_id))["lease_expires_at"]
    ids = [held.response_id for held in (taken, finished, released, deleted)] + ["unknown"]
    assert beat(thread, **dict.fromkeys(ids, 1)) == dict.fromkeys(ids, "lost")
    assert (await state(db, taken.response_id))["lease_expires_at"] == expires


async def test_it_hears_of_a_cancel_and_renews_all_the_same(
    db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    held = await start(db)
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    clock.advance(timedelta(seconds=5))
    assert beat(thread, **{held.response_id: 1}) == {held.response_id: "cancel"}
    assert (await state(db, held.response_id))["lease_expires_at"] > clock.now() + LEASE / 2


async def test_every_attempt_gets_its_answer_in_one_call(
    db: Conn, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    ids = [(await start(db)).response_id for _ in range(30)]
    assert beat(thread, **dict.fromkeys(ids, 1)) == dict.fromkeys(ids, "ok")
    assert beat(thread) == {}


async def test_the_worker_is_seen(
    db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    await register(db)
    clock.advance(timedelta(minutes=1))
    beat(thread)
    silent = await value(db, "select w.silent_for from pgdurable.worker_activity as w")
    assert silent < timedelta(seconds=30)


async def test_a_person_who_holds_the_workers_row_does_not_hold_up_the_leases(
    dsn: str, db: Conn, clock: Clock, thread: psycopg.Connection[tuple[object, ...]]
) -> None:
    await register(db)
    held = await start(db)
    thread.execute("set lock_timeout = '2s'")
    clock.advance(timedelta(seconds=5))
    with psycopg.connect(dsn) as person:
        person.execute("select from pgdurable.workers for update")
        assert beat(thread, **{held.response_id: 1}) == {held.response_id: "ok"}
    assert (await state(db, held.response_id))["lease_expires_at"] > clock.now() + LEASE / 2


async def test_a_worker_registers_once_and_leaves_a_trace(db: Conn, clock: Clock) -> None:
    await register(db)
    started = await value(db, "select w.started_at from pgdurable.workers as w")
    clock.advance(timedelta(minutes=1))
    await register(db)
    assert await value(db, "select w.started_at from pgdurable.workers as w") == started
    await queries.unregister_worker(db, worker_id="a")
    stopped = await value(db, "select w.stopped_at from pgdurable.workers as w")
    assert stopped >= started + timedelta(minutes=1)
    await queries.unregister_worker(db, worker_id="nobody")
