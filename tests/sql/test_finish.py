"""sql/50_finish.sql: an attempt ends its response, or hands it back."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from pgdurable.database import queries
from pgdurable.database.queries import Append, Finish
from pgdurable.models import NewEvent, Status, Terminal
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    Logged,
    append,
    attempts_of,
    claim,
    delta,
    end_by_takeover,
    enqueue,
    finish,
    log_of,
    release,
    start,
    state,
    take_over,
    terminal,
    types_of,
    value,
)

TERMINALS = [status for status in Status if status.is_terminal]


@pytest.mark.parametrize("status", TERMINALS)
async def test_status_and_terminal_event_commit_together(db: Conn, status: Status) -> None:
    held = await start(db)
    result = await finish(db, held, status)
    assert (result.outcome, result.last_seq) == ("ok", 2)
    row = await state(db, held.response_id)
    assert (row["status"], row["last_seq"], row["worker_id"]) == (status, 2, None)
    assert row["lease_expires_at"] is None and row["finished_at"] >= row["started_at"]
    assert (await log_of(db, held.response_id))[-1] == Logged(2, 1, terminal(status).event.type)
    assert await attempts_of(db, held.response_id) == [(1, "a", "claim", False, status)]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
async def test_an_end_is_an_end(db: Conn, status: Status) -> None:
    held = await start(db)
    with pytest.raises(psycopg.errors.CheckViolation):
        await finish(db, held, status)
    assert (await state(db, held.response_id))["status"] == "in_progress"


async def test_the_same_finish_again_writes_nothing_and_is_answered_the_same(db: Conn) -> None:
    held = await start(db)
    assert await finish(db, held) == await finish(db, held)
    for after in (0, 2):
        assert (await finish(db, held, after=after)).outcome == "lost", "at another place"
    assert len(await log_of(db, held.response_id)) == 3


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED])
async def test_an_end_that_a_takeover_wrote_is_not_taken_for_a_repetition_of_the_owners(
    db: Conn, clock: Clock, status: Status
) -> None:
    held = await start(db, max_attempts=1)
    if status is Status.CANCELLED:
        await queries.cancel_response(db, response_id=held.response_id, principal="")
    clock.advance(PAST_LEASE)
    (ended,) = await end_by_takeover(db)
    assert (ended.status, ended.attempt) == (status, held.attempt)
    assert (await finish(db, held, status, after=ended.last_seq - 1)).outcome == "lost"


async def test_an_end_of_the_next_attempt_is_not_taken_for_a_repetition_of_the_last_ones(
    db: Conn, clock: Clock
) -> None:
    zombie = await start(db)
    clock.advance(PAST_LEASE)
    (successor,) = await take_over(db)
    ended = await finish(db, successor)
    assert ended.outcome == "ok" and ended.last_seq is not None
    assert (await finish(db, zombie, after=ended.last_seq - 1)).outcome == "lost"


async def test_an_end_by_cancel_is_not_taken_for_a_repetition_of_the_owners(db: Conn) -> None:
    held = await start(db)
    await release(db, held)
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    assert (await finish(db, held, Status.CANCELLED)).outcome == "lost"


async def test_nothing_changes_after_the_end(db: Conn, clock: Clock) -> None:
    held = await start(db, deadline=LEASE)
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    await finish(db, held, Status.COMPLETED)
    before = await state(db, held.response_id), await log_of(db, held.response_id)
    for status in (Status.FAILED, Status.CANCELLED, Status.INCOMPLETE):
        assert (await finish(db, held, status)).outcome == "lost"
        assert (await finish(db, held, status, after=2)).outcome == "lost"
    assert (await release(db, held)).outcome == "lost"
    clock.advance(PAST_LEASE)
    assert await take_over(db) == [] and await claim(db) == []
    assert (await state(db, held.response_id), await log_of(db, held.response_id)) == before


async def test_any_other_place_or_attempt_is_lost(db: Conn) -> None:
    held = await start(db)
    await append(db, held)
    for after in (0, 1, 3):
        assert (await finish(db, held, after=after)).outcome == "lost"
    (other,) = await queries.finish_responses(
        db,
        [
            Finish(held.response_id, 2, 2, terminal()),
        ],
    )
    assert other.outcome == "lost"
    assert (await state(db, held.response_id))["status"] == "in_progress"


async def test_a_refused_one_does_not_fail_the_others(db: Conn) -> None:
    first, last = await start(db), await start(db)
    results = await queries.finish_responses(
        db,
        [
            Finish(last.response_id, 1, 1, terminal()),
            Finish("resp_unknown", 1, 1, terminal()),
            Finish(first.response_id, 9, 1, terminal()),
            Finish(first.response_id, 1, 1, terminal(Status.FAILED)),
        ],
    )
    assert [result.outcome for result in results][:2] == ["ok", "lost"]
    assert results[3].outcome == "ok"
    assert (await state(db, first.response_id))["status"] == "failed"


async def test_a_flush_appends_and_finishes_in_one_transaction(db: Conn) -> None:
    ends, goes_on = await start(db), await start(db)
    appends = [
        Append(ends.response_id, 1, 1, [delta("last words")]),
        Append(goes_on.response_id, 1, 1, [delta()]),
    ]
    finishes = [Finish(ends.response_id, 1, 2, terminal())]
    for _ in range(2):  # the second time as if the first had ended unknown
        appended, finished = await queries.append_and_finish(db, appends, finishes, lease=LEASE)
        assert [result.outcome for result in finished] == ["ok"]
        assert appended[1].outcome == "ok"
        assert await types_of(db, ends.response_id) == [
            "response.created",
            "response.in_progress",
            "response.output_text.delta",
            "response.completed",
        ]
        assert len(await log_of(db, goes_on.response_id)) == 3


async def test_a_terminal_event_is_stored_byte_for_byte(db: Conn) -> None:
    held = await start(db)
    body = rb'{"type":"response.completed","x":"\u0000","n":1e100000}'
    await queries.finish_responses(
        db,
        [
            Finish(
                held.response_id,
                1,
                1,
                Terminal(Status.COMPLETED, NewEvent("response.completed", None, body)),
            )
        ],
    )
    snapshot = await queries.get_response(db, response_id=held.response_id, principal="")
    assert snapshot.terminal == body


async def test_a_body_that_is_missing_fails_the_call(db: Conn) -> None:
    held = await start(db)
    with pytest.raises(psycopg.errors.NotNullViolation):
        await db.execute(
            "select * from pgdurable.finish_responses(array[%s], array[1], array[1::bigint],"
            " array['completed'], '', '')",
            [held.response_id],
        )
    assert (await state(db, held.response_id))["status"] == "in_progress"


async def test_a_queue_of_mixed_ends_leaves_no_row_half_way(db: Conn) -> None:
    for _ in range(20):
        await enqueue(db)
    held = await claim(db)
    await asyncio.gather(*(finish(db, h, TERMINALS[n % 4]) for n, h in enumerate(held)))
    unfinished = await value(
        db,
        "select count(*) from pgdurable.responses as r where not exists (select from"
        " pgdurable.events as e where e.response_id = r.response_id and e.seq = r.last_seq"
        " and e.type in ('response.completed', 'response.failed', 'response.incomplete'))",
    )
    assert unfinished == 0
