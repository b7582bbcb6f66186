"""sql/52_release.sql: a response is handed back unfinished."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from pgdurable.database import queries
from pgdurable.models import Status
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    attempts_of,
    claim,
    end_by_takeover,
    finish,
    last_event,
    release,
    start,
    state,
    take_over,
    types_of,
)


async def test_what_is_handed_back_is_claimed_again_at_once_and_costs_no_budget(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, max_attempts=1)
    for attempt in range(1, 6):
        await append(db, held)
        assert (await release(db, held)).outcome == "ok"
        row = await state(db, held.response_id)
        assert (row["status"], row["attempt"], row["failed_attempts"]) == ("queued", attempt, 0)
        (held,) = await claim(db, f"worker-{attempt}")
        assert (held.attempt, held.resumed) == (attempt + 1, True)
    assert [row[2:] for row in await attempts_of(db, held.response_id)] == [
        ("claim", False, "released"),
        *[("release", True, "released")] * 4,
        ("release", True, None),
    ]


async def test_handed_back_untouched_it_is_claimed_like_new(db: Conn) -> None:
    held = await start(db, conversation="c")
    await release(db, held)
    (again,) = await claim(db)
    assert (again.attempt, again.resumed, again.conversation_id) == (2, False, "c")
    assert await types_of(db, held.response_id) == [
        "response.created",
        "response.in_progress",
        "response.in_progress",
    ]


async def test_a_release_a_second_time_or_by_a_stranger_is_lost(db: Conn) -> None:
    held = await start(db)
    await release(db, held)
    assert (await release(db, held)).outcome == "lost"
    results = await queries.release_responses(db, attempts={"resp_unknown": 1, held.response_id: 9})
    assert [result.outcome for result in results] == ["lost", "lost"]


async def test_how_an_attempt_has_ended_is_not_changed_by_the_next_ones(
    db: Conn, clock: Clock
) -> None:
    held = await start(db)
    clock.advance(PAST_LEASE)
    (held,) = await take_over(db)
    await release(db, held)
    (held,) = await claim(db)
    await finish(db, held)
    outcomes = [row[-1] for row in await attempts_of(db, held.response_id)]
    assert outcomes == ["lost", "released", "completed"]


async def test_a_zombies_release_does_not_end_what_its_successor_was_asked_to_cancel(
    db: Conn, clock: Clock
) -> None:
    zombie = await start(db)
    clock.advance(PAST_LEASE)
    (successor,) = await take_over(db)
    await queries.cancel_response(db, response_id=zombie.response_id, principal="")
    assert (await release(db, zombie)).outcome == "lost"
    assert (await append(db, successor)).outcome == "cancel"


async def test_the_old_owner_is_fenced_off_by_the_next_claim_and_before(db: Conn) -> None:
    held = await start(db)
    await release(db, held)
    assert (await append(db, held)).outcome == "lost"
    await claim(db, "b")
    assert (await append(db, held)).outcome == "lost"
    assert (await finish(db, held)).outcome == "lost"


async def test_handed_back_with_a_cancel_that_was_not_heard_it_ends_instead(
    dsn: str, db: Conn
) -> None:
    held, other = await start(db), await start(db)
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen pgdurable_tail")
        await queries.release_responses(db, attempts={held.response_id: 1, other.response_id: 1})
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=1)]
    assert heard == [held.response_id]
    assert (await state(db, held.response_id))["status"] == "cancelled"
    assert (await last_event(db, held.response_id))["type"] == "response.incomplete"
    assert [again.response_id for again in await claim(db)] == [other.response_id]


async def test_handed_back_past_its_deadline_it_fails(db: Conn, clock: Clock) -> None:
    held = await start(db, deadline=timedelta(seconds=5))
    clock.advance(timedelta(seconds=6))
    await release(db, held)
    assert await claim(db) == []
    assert [end.status for end in await end_by_takeover(db)] == [Status.FAILED]
