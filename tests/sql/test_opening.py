"""sql/24_opening.sql: what an attempt opens with, by how its agent goes on after a crash."""

from __future__ import annotations

from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    claim,
    delta,
    done,
    log_of,
    release,
    start,
    state,
    take_over,
    types_of,
    value,
)


async def test_an_agent_that_starts_over_writes_nothing_and_keeps_its_conversation(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, conversation="c")
    await append(db, held, delta("first"))
    before = await log_of(db, held.response_id)
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db, recovery="restart")
    assert (taken.restarted, taken.resumed, taken.event, taken.event_type) == (
        True,
        False,
        None,
        None,
    )
    assert (taken.attempt, taken.last_seq, taken.conversation_id) == (2, 2, "c")
    assert await log_of(db, held.response_id) == before
    assert (await append(db, taken, delta("second"))).outcome == "ok"
    assert (await append(db, held, delta("zombie"), after=3)).outcome == "lost"
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_one_that_had_said_nothing_begins_as_any_other(db: Conn, clock: Clock) -> None:
    held = await start(db)
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db, recovery="restart")
    assert not taken.restarted
    assert await types_of(db, held.response_id) == [
        "response.created",
        "response.in_progress",
        "response.in_progress",
    ]


async def test_one_that_was_handed_back_starts_over_too(db: Conn) -> None:
    held = await start(db)
    await append(db, held, delta())
    await release(db, held)
    (taken,) = await claim(db, recovery="restart")
    assert (taken.restarted, taken.attempt) == (True, 2)
    reason = "select reason from pgdurable.attempts where attempt = 2"
    assert await value(db, reason) == "release"


async def test_an_agent_that_keeps_its_session_is_resumed_on_the_same_conversation(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, conversation="c")
    await append(db, held, delta())
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db, recovery="session")
    assert (taken.resumed, taken.conversation_id, taken.event_type) == (
        True,
        "c",
        "response.resumed",
    )
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_the_output_of_one_that_ends_without_a_handler_spans_the_restarts(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, max_attempts=2)
    await append(db, held, done("msg_1"))
    clock.advance(PAST_LEASE)
    (taken,) = await take_over(db, recovery="restart")
    await append(db, taken, done("msg_2", 1))
    items = "select cardinality(items) from pgdurable.get_response(%s)"
    assert await value(db, items, held.response_id) == 2
    clock.advance(PAST_LEASE)
    assert await take_over(db, recovery="restart") == []
    assert (await state(db, held.response_id))["status"] == "failed"
    output = (
        "select json_array_length(body #> '{response,output}') from pgdurable.events"
        " where type = 'response.failed'"
    )
    assert await value(db, output) == 2
