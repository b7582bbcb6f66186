"""sql/55_takeover.sql: a silent worker's response goes to another one, or ends."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import connections, queries
from pgdurable.errors import LeaseLost
from pgdurable.models import Status
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    added,
    append,
    attempts_of,
    claim,
    delta,
    done,
    end_by_takeover,
    enqueue,
    finish,
    log_of,
    release,
    start,
    state,
    take_over,
    value,
)


async def test_a_live_lease_is_left_alone(db: Conn, clock: Clock) -> None:
    await start(db)
    assert await take_over(db) == []
    clock.advance(LEASE - timedelta(seconds=1))
    assert await take_over(db) == []


async def test_an_expired_one_goes_to_the_next_attempt(db: Conn, clock: Clock) -> None:
    first = await start(db)
    await append(db, first)
    clock.advance(PAST_LEASE)
    started_at = (await state(db, first.response_id))["started_at"]
    (second,) = await take_over(db, "b")
    assert (second.attempt, second.status, second.resumed) == (2, Status.IN_PROGRESS, True)
    assert second.request == first.request
    row = await state(db, first.response_id)
    assert (row["worker_id"], row["failed_attempts"], row["attempt"]) == ("b", 1, 2)
    assert row["lease_expires_at"] > clock.now()
    assert row["started_at"] == started_at
    assert await attempts_of(db, first.response_id) == [
        (1, "a", "claim", False, "lost"),
        (2, "b", "takeover", True, None),
    ]


async def test_the_old_attempt_can_write_nothing_any_more(db: Conn, clock: Clock) -> None:
    first = await start(db)
    await append(db, first)
    clock.advance(PAST_LEASE)
    await take_over(db)
    before = await log_of(db, first.response_id)
    for after in range(5):
        assert (await append(db, first, after=after)).outcome == "lost"
        assert (await finish(db, first, after=after)).outcome == "lost"
    assert (await release(db, first)).outcome == "lost"
    with pytest.raises(LeaseLost):
        await queries.upsert_conversation_alias(
            db,
            principal="",
            base="c",
            current="x",
            response_id=first.response_id,
            attempt=first.attempt,
        )
    assert await log_of(db, first.response_id) == before


async def test_the_budget_counts_silent_workers_the_first_included(db: Conn, clock: Clock) -> None:
    response_id = (await start(db, max_attempts=3)).response_id
    for attempt in (2, 3):
        clock.advance(PAST_LEASE)
        assert [taken.attempt for taken in await take_over(db)] == [attempt]
    clock.advance(PAST_LEASE)
    ((attempt, status),) = [(end.attempt, end.status) for end in await end_by_takeover(db)]
    assert (attempt, status) == (3, Status.FAILED)
    row = await state(db, response_id)
    assert (row["attempt"], row["failed_attempts"], row["max_attempts"]) == (3, 3, 3)
    assert await take_over(db) == []


async def test_the_budget_does_not_count_what_was_handed_back(db: Conn, clock: Clock) -> None:
    held = await start(db, max_attempts=2)
    for _ in range(3):
        await release(db, held)
        (held,) = await claim(db)
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db)
    assert (taken.attempt, taken.status) == (5, Status.IN_PROGRESS)
    clock.advance(PAST_LEASE)
    assert [end.status for end in await end_by_takeover(db)] == [Status.FAILED]


async def test_past_the_deadline_it_ends_although_attempts_are_left(db: Conn, clock: Clock) -> None:
    await start(db, deadline=LEASE)
    clock.advance(PAST_LEASE)
    assert [end.status for end in await end_by_takeover(db)] == [Status.FAILED]


async def test_before_the_deadline_it_goes_on_and_the_deadline_is_told(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, deadline=timedelta(minutes=5))
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db)
    assert taken.status is Status.IN_PROGRESS
    assert taken.deadline_at == held.deadline_at is not None


async def test_one_that_was_asked_to_stop_is_cancelled_not_resumed(db: Conn, clock: Clock) -> None:
    held = await start(db, deadline=LEASE)
    await append(db, held, added("msg_1", 0), done("msg_1", 0), delta())
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    clock.advance(PAST_LEASE)
    (end,) = await end_by_takeover(db)
    assert end.status is Status.CANCELLED


async def test_a_queued_one_past_its_deadline_fails(db: Conn, clock: Clock) -> None:
    response_id = await enqueue(db, deadline=timedelta(seconds=5))
    clock.advance(timedelta(seconds=6))
    (end,) = await end_by_takeover(db)
    assert (end.response_id, end.status, end.attempt) == (response_id, Status.FAILED, 0)


async def test_only_the_queues_that_were_named(db: Conn, clock: Clock) -> None:
    for queue in ("x", "y"):
        await enqueue(db, queue=queue)
    assert len(await claim(db, queues=["x", "y"])) == 2
    for queue in ("x", "y"):
        await enqueue(db, queue=queue, deadline=timedelta(seconds=1))
    clock.advance(PAST_LEASE)
    assert await take_over(db, queues=["z"]) == []
    assert len(await take_over(db, queues=["x"])) == 1
    rows = await db.execute(
        "select r.queue from pgdurable.responses as r where r.attempt = 2 or r.status = 'failed'"
    )
    assert await rows.fetchall() == [("x",), ("x",)]


async def test_a_sweep_is_bounded_and_the_longest_silent_go_first(db: Conn, clock: Clock) -> None:
    ids = []
    for _ in range(5):
        ids.append((await start(db)).response_id)
        clock.advance(timedelta(seconds=1))
    clock.advance(PAST_LEASE)
    taken = [held.response_id for held in await take_over(db, limit=2)]
    taken += [held.response_id for held in await take_over(db, limit=9)]
    assert sorted(taken[:2]) == sorted(ids[:2])
    assert sorted(taken) == sorted(ids)


async def test_a_sweep_of_the_overdue_is_bounded_and_goes_by_their_deadlines(
    db: Conn, clock: Clock
) -> None:
    last, first, second = [await enqueue(db, deadline=timedelta(seconds=n)) for n in (3, 1, 2)]
    clock.advance(PAST_LEASE)
    assert {end.response_id for end in await end_by_takeover(db, limit=2)} == {first, second}
    assert [end.response_id for end in await end_by_takeover(db, limit=2)] == [last]


async def test_a_full_batch_that_ends_does_not_hide_the_others(db: Conn, clock: Clock) -> None:
    for number in range(3):
        await start(db, f"dies alone {number}", max_attempts=1)
    healthy = await start(db)
    clock.advance(PAST_LEASE)
    taken = [held for _ in range(2) for held in await take_over(db, limit=2)]
    assert [held.response_id for held in taken] == [healthy.response_id]
    assert (await state(db, healthy.response_id))["attempt"] == 2


async def test_a_row_that_somebody_holds_is_passed_over(dsn: str, db: Conn, clock: Clock) -> None:
    held, other = await start(db), await start(db)
    overdue = await enqueue(db, deadline=LEASE)
    clock.advance(PAST_LEASE)
    await db.execute("set lock_timeout = '5s'")
    with psycopg.connect(dsn) as person:
        person.execute(
            "select from pgdurable.responses where response_id = any(%s) for update",
            [[held.response_id, overdue]],
        )
        assert [taken.response_id for taken in await take_over(db)] == [other.response_id]
        assert (await state(db, overdue))["status"] == "queued"
    assert [taken.response_id for taken in await take_over(db)] == [held.response_id]
    assert (await state(db, overdue))["status"] == "failed"


async def test_it_is_all_there_or_nothing(db: Conn, clock: Clock) -> None:
    """A takeover that fails half-way (here: at its event) leaves the response as it was."""
    held = await start(db, conversation="c")
    await append(db, held)
    clock.advance(PAST_LEASE)
    before = await state(db, held.response_id)
    await db.execute("alter table pgdurable.events add constraint no check (seq < 3) not valid")
    with pytest.raises(psycopg.errors.CheckViolation):
        await take_over(db)
    assert await state(db, held.response_id) == before
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0
    assert await attempts_of(db, held.response_id) == [(1, "a", "claim", False, None)]


async def test_readers_of_those_that_end_are_told(dsn: str, db: Conn, clock: Clock) -> None:
    held, overdue = await start(db, max_attempts=1), await enqueue(db, deadline=LEASE)
    clock.advance(PAST_LEASE)
    async with await connections.connect(dsn, name="listener") as listener:
        await listener.execute("listen pgdurable_tail")
        assert await take_over(db) == []
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=1)]
    assert {response_id for ids in heard for response_id in ids.split()} == {
        held.response_id,
        overdue,
    }


async def test_work_of_one_agent_is_taken_over_by_workers_that_have_it_only(
    db: Conn, clock: Clock
) -> None:
    await enqueue(db, agent="research")
    (held,) = await claim(db, agents=["research"])
    clock.advance(PAST_LEASE)
    assert await take_over(db, agents=["chat"]) == []
    (taken,) = await take_over(db, agents=["chat", "research"])
    assert (taken.response_id, taken.attempt) == (held.response_id, 2)
