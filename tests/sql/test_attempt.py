"""sql/22_attempt.sql: how the next attempt begins: plain or resumed, and on which conversation."""

from __future__ import annotations

from typing import Any

import pytest

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    attempts_of,
    claim,
    delta,
    enqueue,
    finish,
    last_event,
    log_of,
    release,
    start,
    take_over,
    value,
)


async def alias(db: Conn, base: str, principal: str = "") -> str:
    return await queries.resolve_conversation_alias(db, principal=principal, base=base)


async def crashed(db: Conn, clock: Clock, **columns: Any) -> str:
    """A response whose first owner appended something and died."""
    held = await start(db, **columns)
    await append(db, held)
    clock.advance(PAST_LEASE)
    return held.response_id


async def test_a_first_attempt_runs_on_the_base_conversation(db: Conn) -> None:
    held = await start(db, conversation="c")
    assert (held.conversation_id, held.base_conversation_id) == ("c", "c")
    assert await alias(db, "c") == "c"


async def test_without_a_conversation_the_response_is_its_own(db: Conn, clock: Clock) -> None:
    response_id = await crashed(db, clock)
    (held,) = await take_over(db)
    assert held.base_conversation_id is None
    assert held.conversation_id == f"{response_id}::r-{response_id[-8:]}-2"
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_a_resumed_attempt_rotates_and_the_alias_commits_with_it(
    db: Conn, clock: Clock
) -> None:
    response_id = await crashed(db, clock, conversation="c")
    (held,) = await take_over(db)
    assert held.resumed and held.conversation_id == f"c::r-{response_id[-8:]}-2"
    assert await alias(db, "c") == held.conversation_id
    assert await last_event(db, response_id) == {
        "type": "response.resumed",
        "attempt": 2,
        "from_seq": 3,
        "conversation_id": held.conversation_id,
    }
    assert (held.last_seq, held.event_type) == (3, "response.resumed")


async def test_a_chain_of_crashes_stays_flat(db: Conn, clock: Clock) -> None:
    response_id = await crashed(db, clock, conversation="c")
    for attempt in (2, 3):
        (held,) = await take_over(db)
        assert held.conversation_id == f"c::r-{response_id[-8:]}-{attempt}"
        assert await alias(db, "c") == held.conversation_id
        clock.advance(PAST_LEASE)
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 1


async def test_the_next_turn_lands_on_the_rotated_conversation(db: Conn, clock: Clock) -> None:
    await crashed(db, clock, conversation="c")
    (first,) = await take_over(db)
    await finish(db, first)
    second = await start(db, conversation="c")
    assert not second.resumed
    assert (second.conversation_id, second.base_conversation_id) == (first.conversation_id, "c")


async def test_two_turns_at_the_same_attempt_do_not_meet(db: Conn, clock: Clock) -> None:
    rotated = []
    for _ in range(2):
        await crashed(db, clock, conversation="c")
        (held,) = await take_over(db)
        assert held.attempt == 2
        rotated.append(held.conversation_id)
        await finish(db, held)
    assert rotated[0] != rotated[1] and await alias(db, "c") == rotated[1]
    mover = "select a.response_id from pgdurable.conversation_aliases as a"
    assert await value(db, mover) == held.response_id
    assert all(str(current).startswith("c::r-") for current in rotated)
    assert all(str(current).count("::r-") == 1 for current in rotated)


async def test_conversations_of_two_principals_never_meet(db: Conn, clock: Clock) -> None:
    await crashed(db, clock, conversation="c", principal="a")
    (held,) = await take_over(db)
    assert await alias(db, "c", "a") == held.conversation_id
    assert await alias(db, "c", "b") == "c"
    assert (await start(db, conversation="c", principal="b")).conversation_id == "c"


ANCHORED = [
    {"custom_inputs": {"thread_id": "anchor"}},
    {"custom_inputs": {"session_id": "anchor"}},
    {"context": {"conversation_id": "anchor"}},
    {"conversation": "anchor"},
]


@pytest.mark.parametrize("request_", ANCHORED)
async def test_every_kind_of_anchor_is_resolved(
    db: Conn, clock: Clock, request_: dict[str, object]
) -> None:
    await queries.enqueue_response(db, {"input": "hi", **request_})
    (held,) = await claim(db)
    await append(db, held)
    clock.advance(PAST_LEASE)
    (again,) = await take_over(db)
    await finish(db, again)
    await queries.enqueue_response(db, {"input": "turn two", **request_})
    (second,) = await claim(db)
    assert second.conversation_id == again.conversation_id == await alias(db, "anchor")


async def test_an_attempt_that_left_nothing_is_not_resumed(db: Conn, clock: Clock) -> None:
    held = await start(db, conversation="c")
    clock.advance(PAST_LEASE)
    (again,) = await take_over(db)
    assert (again.attempt, again.resumed, again.conversation_id) == (2, False, "c")
    assert again.event_type == "response.in_progress"
    assert await attempts_of(db, held.response_id) == [
        (1, "a", "claim", False, "lost"),
        (2, "b", "takeover", False, None),
    ]


async def test_events_of_any_earlier_attempt_count(db: Conn, clock: Clock) -> None:
    response_id = await crashed(db, clock)
    for attempt in (2, 3):  # attempt 2 leaves nothing of its own
        (held,) = await take_over(db)
        assert (held.attempt, held.resumed) == (attempt, True)
        clock.advance(PAST_LEASE)
    assert [event.type for event in await log_of(db, response_id)][-2:] == ["response.resumed"] * 2


async def test_two_of_one_conversation_taken_over_at_once_leave_one_alias(
    db: Conn, clock: Clock
) -> None:
    for _ in range(2):
        held = await start(db, conversation="c")
        await append(db, held)
    clock.advance(PAST_LEASE)
    taken = await take_over(db)
    newest = max(taken, key=lambda held: held.response_id)
    assert await alias(db, "c") == newest.conversation_id
    assert len({held.conversation_id for held in taken}) == 2


async def test_a_batch_mixes_plain_and_resumed_ones(db: Conn) -> None:
    with_progress, without = await start(db), await start(db)
    await append(db, with_progress, delta())
    await release(db, with_progress)
    await release(db, without)
    fresh = await enqueue(db)
    claimed = {held.response_id: held for held in await claim(db)}
    assert {i: held.resumed for i, held in claimed.items()} == {
        with_progress.response_id: True,
        without.response_id: False,
        fresh: False,
    }
    reasons = [
        (await attempts_of(db, i))[-1][2] for i in (with_progress.response_id, without.response_id)
    ]
    assert reasons == ["release", "claim"]


async def test_a_conversation_named_like_sql_or_json_is_data(db: Conn, clock: Clock) -> None:
    name = """o'"\\c\n{}'; drop table x"""
    await crashed(db, clock, conversation=name)
    (held,) = await take_over(db)
    assert str(held.conversation_id).startswith(name + "::r-")
    assert (await last_event(db, held.response_id))["conversation_id"] == held.conversation_id
