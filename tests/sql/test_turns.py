"""sql/54_turns.sql: one bad request does not fail its neighbours."""

from __future__ import annotations

import math

import pytest

from pgdurable.database import queries
from pgdurable.models import ClaimedResponse
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    claim,
    enqueue,
    finish,
    release,
    start,
    state,
    take_over,
    value,
)


async def failed_attempts(db: Conn, response_id: str) -> int:
    return int((await state(db, response_id))["failed_attempts"])


async def die(db: Conn, clock: Clock, worker: str) -> list[ClaimedResponse]:
    """The worker dies with all it has; its successor takes over what it may."""
    clock.advance(PAST_LEASE)
    return await take_over(db, worker)


async def test_a_death_in_company_is_told_and_not_charged(db: Conn, clock: Clock) -> None:
    ids = [(await start(db)).response_id for _ in range(3)]
    assert len(await die(db, clock, "b")) == 3
    assert [await failed_attempts(db, response_id) for response_id in ids] == [0, 0, 0]
    told = "select array_agg(distinct company) from pgdurable.attempts where outcome = 'lost'"
    assert await value(db, told) == [2]


async def test_a_death_alone_is_charged(db: Conn, clock: Clock) -> None:
    held = await start(db)
    await die(db, clock, "b")
    assert await failed_attempts(db, held.response_id) == 1


async def test_two_deaths_delay_nobody_the_third_halves_the_company(db: Conn, clock: Clock) -> None:
    for _ in range(8):
        await start(db)
    for worker in ("b", "c"):
        taken = await die(db, clock, worker)
        assert [held.suspect_cap for held in taken] == [None] * 8
    third = await die(db, clock, "d")
    assert [held.suspect_cap for held in third] == [4] * 4
    assert all(held.suspect_for is not None and held.suspect_for > PAST_LEASE for held in third)
    assert await take_over(db, "d", running=[held.response_id for held in third]) == []
    assert len(await take_over(db, "e")) == 4


@pytest.mark.parametrize("neighbours", [1, 6, 64])
async def test_the_poison_fails_and_its_neighbours_do_not_whatever_the_company(
    db: Conn, clock: Clock, neighbours: int
) -> None:
    poison = await enqueue(db)
    for _ in range(neighbours):
        await enqueue(db)
    running = await claim(db, "w")
    deaths = 0
    while (await state(db, poison))["status"] in ("queued", "in_progress"):
        if any(held.response_id == poison for held in running):
            deaths += 1
            running = await die(db, clock, f"w{deaths}")
        else:
            for held in running:
                await finish(db, held)
            running = await take_over(db, f"x{deaths}", limit=100)

    assert (await state(db, poison))["status"] == "failed"
    rest = "select count(*) from pgdurable.responses where failed_attempts > 0"
    assert await value(db, rest) == 1, "only the poison was charged"
    assert deaths <= math.log2(neighbours + 1) + 3 + 3
    while running:
        for held in running:
            await finish(db, held)
        running = await take_over(db, "last")
    completed = "select count(*) from pgdurable.responses where status = 'completed'"
    assert await value(db, completed) == neighbours


async def test_a_busy_worker_leaves_a_suspect_to_others_for_ten_leases_at_most(
    db: Conn, clock: Clock
) -> None:
    for _ in range(2):
        await start(db)
    await die(db, clock, "b")
    await die(db, clock, "b")
    clock.advance(PAST_LEASE)
    busy = ["resp_" + "0" * 32]
    assert await take_over(db, "c", running=busy) == []
    clock.advance(LEASE * 11)
    assert len(await take_over(db, "c", running=busy)) == 2


async def test_what_waits_for_its_turn_may_be_cancelled_meanwhile(db: Conn, clock: Clock) -> None:
    for _ in range(2):
        await start(db)
    await die(db, clock, "b")
    await die(db, clock, "b")
    (first,) = await die(db, clock, "c")
    waiting = await value(
        db, "select response_id from pgdurable.responses where response_id <> %s", first.response_id
    )
    await queries.cancel_response(db, response_id=waiting, principal="")
    await take_over(db, "d")
    assert (await state(db, waiting))["status"] == "cancelled"


async def test_a_clean_stop_between_the_deaths_ends_the_suspicion(db: Conn, clock: Clock) -> None:
    for _ in range(2):
        await start(db)
    await die(db, clock, "b")
    for taken in await die(db, clock, "b"):
        await release(db, taken)
    await claim(db, "c")
    assert [taken.suspect_cap for taken in await die(db, clock, "d")] == [None, None]


async def test_what_no_rule_foresaw_ends_with_a_code_of_its_own(db: Conn, clock: Clock) -> None:
    held = await start(db)
    await db.execute(
        "insert into pgdurable.attempts (response_id, attempt, worker_id, reason, resumed,"
        " conversation_id, started_at, ended_at, outcome, company)"
        " select %s, -n, 'w', 'takeover', false, 'c', now(), now(), 'stalled', 1"
        " from generate_series(1, 29) as n",
        [held.response_id],
    )
    clock.advance(PAST_LEASE)
    assert await take_over(db) == []
    last = (
        "select e.body #>> '{response,error,code}' from pgdurable.events as e"
        " join pgdurable.responses as r on r.response_id = e.response_id and r.last_seq = e.seq"
    )
    assert await value(db, last) == "too_many_attempts"


async def test_who_is_no_suspect_waits_for_none(db: Conn, clock: Clock) -> None:
    suspect = await start(db)
    for worker in ("b", "b", "b"):
        await enqueue(db)
        await claim(db, "b")
        taken = await die(db, clock, worker)
    fresh = await start(db, "b")
    taken = await die(db, clock, "c")
    assert fresh.response_id in [held.response_id for held in taken]
    assert suspect.response_id not in [held.response_id for held in taken]
