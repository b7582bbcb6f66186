"""sql/53_takeable.sql: what may be taken over, since when, and why; presence has more of it."""

from __future__ import annotations

from datetime import timedelta

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import LEASE, PAST_LEASE, Conn, append, claimant, enqueue, start, value


async def due(db: Conn, *, queues: list[str] | None = None) -> timedelta | None:
    asks = claimant("b") if queues is None else claimant("b", queues=queues)
    return await queries.takeover_due(db, asks, stuck_after=LEASE)


async def test_nothing_is_due_while_leases_run(db: Conn) -> None:
    await start(db)
    assert await due(db) is None


async def test_an_expired_lease_is_due_in_the_queues_that_were_named(
    db: Conn, clock: Clock
) -> None:
    await start(db)
    clock.advance(PAST_LEASE)
    found = await due(db)
    assert found is not None and found <= timedelta()
    assert await due(db, queues=["other"]) is None


async def test_a_queued_one_past_its_deadline_is_due(db: Conn, clock: Clock) -> None:
    await enqueue(db, deadline=timedelta(seconds=1))
    assert await due(db) is None
    clock.advance(timedelta(seconds=2))
    assert await due(db) == timedelta()


async def test_a_lease_that_runs_out_beside_live_ones_has_stalled(db: Conn, clock: Clock) -> None:
    alone = await start(db)
    other = await start(db)
    clock.advance(LEASE / 2)
    await append(db, other)
    clock.advance(LEASE / 2 + timedelta(seconds=1))
    found = (
        "select array_agg(t.response_id || ' ' || t.outcome)"
        " from pgdurable._takeable(%s, %s, %s) as t"
    )
    taken = await value(db, found, ["default"], LEASE, clock.now())
    assert taken == [f"{alone.response_id} stalled"]
