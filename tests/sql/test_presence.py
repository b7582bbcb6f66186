"""sql/46_presence.sql: a lock that goes with the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    Conn,
    append,
    claimant,
    start,
    state,
    take_over,
    value,
)
from tests.support.waiting import wait_until

SOON = timedelta(seconds=0.3)
STUCK_AFTER = LEASE


@pytest.fixture
async def process(dsn: str) -> AsyncIterator[Conn]:
    """The connection that a process listens on; closing it is what its death does."""
    async with await Conn.connect(dsn, autocommit=True) as conn:
        yield conn


async def hold(process: Conn, worker: str = "a") -> bool:
    return await queries.hold_presence(process, worker_id=worker, lease=LEASE)


async def due(db: Conn, worker: str = "b", running: tuple[str, ...] = ()) -> timedelta | None:
    return await queries.takeover_due(
        db, claimant(worker), running=running, stuck_after=STUCK_AFTER
    )


async def dead(db: Conn, process: Conn) -> None:
    """The process is gone, and Postgres has noticed."""
    await process.close()
    gone = (
        "select count(*) = 0 from pg_locks as l join pg_database as d on d.oid = l.database"
        " where l.locktype = 'advisory' and l.objsubid = 2 and d.datname = current_database()"
    )
    await wait_until(lambda: value(db, gone))


async def test_a_death_is_due_a_moment_after_it_was_noticed_whatever_the_lease_says(
    db: Conn, clock: Clock, process: Conn
) -> None:
    held = await start(db)
    assert await hold(process)
    assert await due(db) is None
    await dead(db, process)
    noticed = await due(db)
    assert noticed is not None and timedelta() < noticed < SOON
    assert await take_over(db) == []
    clock.advance(SOON)
    again = await due(db)
    assert again is not None and again <= timedelta()
    (taken,) = await take_over(db)
    assert (taken.response_id, taken.attempt) == (held.response_id, 2)
    outcome = "select outcome from pgdurable.attempts where attempt = 1"
    assert await value(db, outcome) == "lost"


async def test_a_renewed_lease_proves_that_only_the_connection_had_died(
    db: Conn, clock: Clock, process: Conn
) -> None:
    held = await start(db)
    await hold(process)
    await dead(db, process)
    await due(db)
    clock.advance(SOON)
    await append(db, held)
    clock.advance(SOON)
    assert await due(db) is None
    assert await take_over(db) == []


async def test_a_beat_proves_it_too_where_there_is_nothing_to_renew(
    db: Conn, clock: Clock, process: Conn
) -> None:
    await db.execute("select pgdurable.register_worker('a', 'h', 1, '{default}', 1, '0')")
    await start(db)
    await hold(process)
    await dead(db, process)
    await due(db)
    clock.advance(SOON)
    await db.execute("select pgdurable.heartbeat('a', '{}', '{}', interval '10 s')")
    assert await due(db) is None


async def test_one_that_holds_its_lock_again_was_never_away(
    dsn: str, db: Conn, clock: Clock, process: Conn
) -> None:
    await start(db)
    await hold(process)
    await dead(db, process)
    await due(db)
    async with await Conn.connect(dsn, autocommit=True) as again:
        assert await hold(again)
        clock.advance(SOON)
        assert await due(db) is None
        assert await take_over(db) == []


async def test_a_presence_of_another_start_of_postgres_tells_nothing(
    db: Conn, clock: Clock, process: Conn
) -> None:
    await start(db)
    await hold(process)
    await db.execute(
        "update pgdurable.presences set server_started_at = server_started_at - interval '1 h'"
    )
    await dead(db, process)
    await due(db)
    clock.advance(SOON)
    assert await due(db) is None
    clock.advance(LEASE)
    assert len(await take_over(db)) == 1


async def test_a_lock_that_somebody_else_holds_is_not_waited_for(
    dsn: str, db: Conn, process: Conn
) -> None:
    assert await hold(process)
    assert not await hold(db)


async def test_a_lease_that_runs_out_under_a_held_lock_has_stalled_and_is_not_charged(
    db: Conn, clock: Clock, process: Conn
) -> None:
    held = await start(db)
    await hold(process)
    clock.advance(LEASE + SOON)
    (taken,) = await take_over(db)
    assert taken.attempt == 2
    assert await value(db, "select outcome from pgdurable.attempts where attempt = 1") == "stalled"
    assert (await state(db, held.response_id))["failed_attempts"] == 0


async def test_who_stalls_again_is_given_twice_the_time(
    db: Conn, clock: Clock, process: Conn
) -> None:
    await start(db)
    await hold(process, "a")
    clock.advance(LEASE + SOON)
    await take_over(db, "a")
    clock.advance(LEASE + SOON)
    assert await take_over(db, "b") == []
    clock.advance(LEASE)
    assert len(await take_over(db, "b")) == 1


async def test_nobody_takes_from_itself_what_it_still_runs(db: Conn, clock: Clock) -> None:
    held = await start(db, "a")
    clock.advance(LEASE + SOON)
    assert await due(db, "a", (held.response_id,)) is None
    assert await take_over(db, "a", running=[held.response_id]) == []
    await db.execute(
        "select pgdurable.heartbeat('a', array[%s], '{1}', interval '10 s')", [held.response_id]
    )
    assert await due(db, "b") is None


async def test_a_worker_that_leaves_in_order_leaves_no_presence(db: Conn, process: Conn) -> None:
    await hold(process)
    await queries.unregister_worker(db, worker_id="a")
    assert await value(db, "select count(*) from pgdurable.presences") == 0
