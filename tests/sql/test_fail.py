"""sql/58_fail.sql: what the database refuses to store ends its response."""

from __future__ import annotations

import pytest

from pgdurable.database import queries
from pgdurable.errors import LeaseLost
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    added,
    append,
    attempts_of,
    last_event,
    start,
    state,
    take_over,
    types_of,
)


async def test_a_refused_one_fails_at_once_with_its_open_items_closed(db: Conn) -> None:
    held = await start(db, max_attempts=3)
    await append(db, held, added("msg_1"))
    await queries.fail_response(db, response_id=held.response_id, attempt=held.attempt)
    closing = ["response.output_item.done", "error", "response.failed"]
    assert (await types_of(db, held.response_id))[-3:] == closing
    response = (await last_event(db, held.response_id))["response"]
    assert response["error"]["code"] == "storage_refused" and response["error"]["message"]
    assert [item["status"] for item in response["output"]] == ["incomplete"]
    row = await state(db, held.response_id)
    assert (row["status"], row["worker_id"], row["failed_attempts"]) == ("failed", None, 0)
    assert await attempts_of(db, held.response_id) == [(1, "a", "claim", False, "failed")]


async def test_only_the_attempt_that_holds_it_may_fail_it(db: Conn, clock: Clock) -> None:
    held = await start(db)
    clock.advance(PAST_LEASE)
    await take_over(db)
    before = await state(db, held.response_id)
    with pytest.raises(LeaseLost):
        await queries.fail_response(db, response_id=held.response_id, attempt=held.attempt)
    assert await state(db, held.response_id) == before
