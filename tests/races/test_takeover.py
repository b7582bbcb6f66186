"""The old owner of a response against the new one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from pgdurable.database import connections, queries
from pgdurable.errors import LeaseLost
from pgdurable.models import ClaimedResponse, Status
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    append,
    attempts_of,
    claim,
    delta,
    finish,
    log_of,
    release,
    start,
    state,
    take_over,
    types_of,
)
from tests.support.sessions import Session


@pytest.fixture
async def expired(db: Conn, clock: Clock) -> ClaimedResponse:
    """In progress at attempt 1, with one event appended, and a lease that has run out."""
    held = await start(db, conversation="c")
    await append(db, held, delta("first"))
    clock.advance(PAST_LEASE)
    return held


async def upsert(conn: Conn, held: ClaimedResponse, current: str) -> None:
    await queries.upsert_conversation_alias(
        conn,
        principal="",
        base="c",
        current=current,
        response_id=held.response_id,
        attempt=held.attempt,
    )


async def test_a_zombies_append_waits_for_the_takeover_and_loses(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        (taken,) = await take_over(a.conn)
        zombie = await b.blocked(a, append(b.conn, expired, delta("zombie"), after=2))
    assert (await zombie).outcome == "lost"
    log = await log_of(db, expired.response_id)
    assert [(event.attempt, event.type) for event in log][2:] == [
        (1, "response.output_text.delta"),
        (2, "response.resumed"),
    ]
    assert (await append(db, taken)).outcome == "ok"


async def test_a_takeover_that_rolls_back_leaves_the_owner_its_response(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction(force_rollback=True):
        await take_over(a.conn)
        owner = await b.blocked(a, append(b.conn, expired, after=2))
    assert (await owner).outcome == "ok"
    assert (await state(db, expired.response_id))["attempt"] == 1
    assert await attempts_of(db, expired.response_id) == [(1, "a", "claim", False, None)]
    assert await take_over(db) == []  # the append has renewed the lease


async def test_an_append_that_came_first_is_not_waited_for_and_saves_the_lease(
    a: Session, b: Session, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        assert (await append(a.conn, expired, after=2)).outcome == "ok"
        assert await take_over(b.conn) == []
    assert await take_over(b.conn) == []


async def test_a_zombies_finish_waits_for_the_takeover_and_loses(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        await take_over(a.conn)
        zombie = await b.blocked(a, finish(b.conn, expired, after=2))
    assert (await zombie).outcome == "lost"
    assert (await state(db, expired.response_id))["status"] == "in_progress"


async def test_a_finish_that_came_first_leaves_nothing_to_take_over(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        assert (await finish(a.conn, expired, after=2)).outcome == "ok"
        assert await take_over(b.conn) == []
    assert await take_over(b.conn) == []
    assert (await types_of(db, expired.response_id))[-1] == "response.completed"


async def test_a_zombies_release_waits_for_the_takeover_and_loses(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        await take_over(a.conn)
        zombie = await b.blocked(a, release(b.conn, expired))
    assert (await zombie).outcome == "lost"
    assert (await state(db, expired.response_id))["status"] == "in_progress"


async def test_a_zombies_alias_waits_for_the_takeover_and_is_refused(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        (taken,) = await take_over(a.conn)
        zombie = await b.blocked(a, upsert(b.conn, expired, "zombie's"))
    with pytest.raises(LeaseLost):
        await zombie
    current = await queries.resolve_conversation_alias(db, principal="", base="c")
    assert current == taken.conversation_id


async def test_an_alias_that_is_being_moved_is_not_taken_over(
    a: Session, b: Session, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        await upsert(a.conn, expired, "mine")
        assert await take_over(b.conn) == []
    (taken,) = await take_over(b.conn)
    current = await queries.resolve_conversation_alias(b.conn, principal="", base="c")
    assert current == taken.conversation_id


async def test_two_that_rotate_one_conversation_wait_and_leave_one_alias(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    other = await start(db, conversation="c")
    await append(db, other)
    await release(db, other)
    async with a.conn.transaction():
        (first,) = await take_over(a.conn)
        waiting = await b.blocked(a, claim(b.conn))
    (second,) = await waiting
    assert {first.response_id, second.response_id} == {expired.response_id, other.response_id}
    current = await queries.resolve_conversation_alias(db, principal="", base="c")
    assert current == second.conversation_id


async def test_one_response_is_taken_over_once(
    a: Session, b: Session, db: Conn, expired: ClaimedResponse
) -> None:
    async with a.conn.transaction():
        assert len(await take_over(a.conn, "first")) == 1
        assert await take_over(b.conn, "second") == []
    assert await take_over(b.conn, "second") == []
    assert [row[1] for row in await attempts_of(db, expired.response_id)] == ["a", "first"]


async def test_a_beat_that_commits_first_saves_the_lease(
    dsn: str, b: Session, expired: ClaimedResponse
) -> None:
    with connections.connect_sync(dsn, name="heartbeat") as thread:
        attempts = {expired.response_id: 1}
        with thread.transaction():
            (beat,) = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
            assert beat.outcome == "ok"
            assert await take_over(b.conn) == []
        assert await take_over(b.conn) == []


async def test_a_beat_during_a_takeover_does_not_wait_and_hears_afterwards(
    dsn: str, a: Session, expired: ClaimedResponse
) -> None:
    with connections.connect_sync(dsn, name="heartbeat") as thread:
        attempts = {expired.response_id: 1}
        thread.execute("set lock_timeout = '5s'")
        async with a.conn.transaction():
            await take_over(a.conn)
            (beat,) = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
            assert beat.outcome == "busy"
        (beat,) = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
        assert beat.outcome == "lost"


async def test_a_person_who_holds_one_row_costs_only_that_one(
    dsn: str, a: Session, db: Conn, clock: Clock
) -> None:
    held = [await start(db) for _ in range(3)]
    clock.advance(timedelta(seconds=5))
    attempts = {h.response_id: 1 for h in held}
    with connections.connect_sync(dsn, name="heartbeat") as thread:
        thread.execute("set lock_timeout = '5s'")
        async with a.conn.transaction():
            await a.conn.execute(
                "select from pgdurable.responses where response_id = %s for update",
                [held[1].response_id],
            )
            beats = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
            assert [beat.outcome for beat in beats] == ["ok", "busy", "ok"]
        beats = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
        assert {beat.outcome for beat in beats} == {"ok"}


async def test_many_workers_sweep_at_once_and_each_response_goes_to_one(
    dsn: str, db: Conn, clock: Clock
) -> None:
    held = [await start(db) for _ in range(30)]
    clock.advance(PAST_LEASE)

    async def sweep(worker: str) -> list[ClaimedResponse]:
        taken: list[ClaimedResponse] = []
        async with await connections.connect(dsn, name=worker) as conn:
            while batch := await take_over(conn, worker, limit=4):
                assert len(batch) <= 4
                taken += batch
        return taken

    swept = await asyncio.gather(*(sweep(f"w{n}") for n in range(6)))
    ids = [taken.response_id for batch in swept for taken in batch]
    assert sorted(ids) == sorted(h.response_id for h in held)
    assert {taken.attempt for batch in swept for taken in batch} == {2}


async def test_what_is_released_and_claimed_is_the_new_owners(
    a: Session, b: Session, db: Conn
) -> None:
    held = await start(db)
    async with a.conn.transaction():
        assert (await release(a.conn, held)).outcome == "ok"
        assert await claim(b.conn, "b") == []
        late = await b.blocked(a, append(b.conn, held))
    assert (await late).outcome == "lost"
    (again,) = await claim(b.conn, "b")
    assert (again.attempt, again.status) == (2, Status.IN_PROGRESS)
