"""sql/56_end.sql: a response ends with no handler at hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgdurable.database import queries
from pgdurable.models import Status
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    attempts_of,
    end_by_takeover,
    enqueue,
    last_event,
    log_of,
    start,
    state,
    take_over,
    types_of,
    value,
)


async def test_past_its_budget_it_fails_with_an_error_event_and_a_terminal_one(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, max_attempts=1, fields=b'{"model":"m"}')
    await append(db, held)
    clock.advance(PAST_LEASE)
    (end,) = await end_by_takeover(db)
    assert (await types_of(db, held.response_id))[-2:] == ["error", "response.failed"]
    row = await state(db, held.response_id)
    assert (row["status"], row["worker_id"], row["lease_expires_at"]) == ("failed", None, None)
    assert row["last_seq"] == end.last_seq == 4 and row["finished_at"] is not None
    assert (end.status, end.event_type) == (Status.FAILED, "response.failed")
    response = (await last_event(db, held.response_id))["response"]
    assert response["status"] == "failed" and response["model"] == "m"
    assert response["error"]["code"] == "max_attempts" and response["error"]["message"]
    assert response["attempt_number"] == 1
    error = await value(db, "select e.body from pgdurable.events as e where e.type = 'error'")
    assert error == (
        b'{"type":"error","code":"max_attempts","message":"Every allowed attempt ended without a'
        b' result: its worker died.","param":null}'
    )
    assert await attempts_of(db, held.response_id) == [(1, "a", "claim", False, "lost")]


async def test_past_its_deadline_it_fails_with_that_code(db: Conn, clock: Clock) -> None:
    held = await start(db, deadline=timedelta(seconds=12))
    clock.advance(timedelta(seconds=13))
    await take_over(db)
    response = (await last_event(db, held.response_id))["response"]
    assert response["error"]["code"] == "deadline_exceeded"


async def test_cancelled_it_ends_as_incomplete_with_the_status_cancelled(db: Conn) -> None:
    response_id = await enqueue(db)
    await queries.cancel_response(db, response_id=response_id, principal="")
    assert await types_of(db, response_id) == ["response.created", "response.incomplete"]
    response = (await last_event(db, response_id))["response"]
    assert (response["status"], response["error"]) == ("cancelled", None)
    assert response["incomplete_details"] == {"reason": "cancelled"}
    assert (await state(db, response_id))["status"] == "cancelled"


@pytest.mark.parametrize(
    "fields", [b"{}", rb'{"s":"\u0000"}', b'{"n":1e400000}', rb'{"s":"\ud800"}']
)
async def test_what_the_request_held_does_not_keep_it_from_ending(
    db: Conn, clock: Clock, fields: bytes
) -> None:
    await start(db, max_attempts=1, request=fields, fields=fields)
    clock.advance(PAST_LEASE)
    (end,) = await end_by_takeover(db)
    assert end.status is Status.FAILED
    assert fields[1:-1] in end.event


async def test_the_log_stays_gapless_and_its_attempts_in_order(db: Conn, clock: Clock) -> None:
    held = await start(db, max_attempts=1)
    await append(db, held)
    clock.advance(PAST_LEASE)
    await take_over(db)
    log = await log_of(db, held.response_id)
    assert [event.seq for event in log] == list(range(len(log)))
    assert [event.attempt for event in log] == sorted(event.attempt for event in log)
