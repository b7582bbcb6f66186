"""sql/75_alias.sql: rotation and alias. tests/sql/test_attempt.py has what a takeover does."""

from __future__ import annotations

import orjson
import pytest

from pgdurable.database import queries
from pgdurable.errors import LeaseLost
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    enqueue,
    finish,
    new_id,
    start,
    take_over,
    value,
)


async def upsert(db: Conn, response_id: str, attempt: int, current: str, **who: str) -> None:
    await queries.upsert_conversation_alias(
        db,
        principal=who.get("principal", ""),
        base="c",
        current=current,
        response_id=response_id,
        attempt=attempt,
    )


async def resolve(db: Conn, base: str, principal: str = "") -> str:
    return await queries.resolve_conversation_alias(db, principal=principal, base=base)


async def test_a_rotated_id_is_the_base_the_random_digits_and_the_attempt(db: Conn) -> None:
    response_id = await new_id(db)
    rotated = await value(
        db, "select pgdurable.rotate_conversation('thread-1', %s, 2)", response_id
    )
    assert rotated == f"thread-1::r-{response_id[-8:]}-2"


async def test_what_was_never_rotated_is_its_own(db: Conn) -> None:
    for base in ("c", "", "o'c"):
        assert await resolve(db, base) == base


async def test_the_owner_may_move_its_alias_as_often_as_it_likes(db: Conn) -> None:
    held = await start(db)
    for current in ("x", "y"):
        await upsert(db, held.response_id, 1, current)
        assert await resolve(db, "c") == current
    assert await resolve(db, "c", "somebody else") == "c"
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 1


async def test_nobody_else_may(db: Conn, clock: Clock) -> None:
    queued = await enqueue(db, queue="other")
    finished = await start(db)
    await finish(db, finished)
    taken = await start(db)
    clock.advance(PAST_LEASE)
    await take_over(db)
    refused = [
        ("resp_unknown", 1, ""),
        (queued, 0, ""),
        (finished.response_id, 1, ""),
        (taken.response_id, 1, ""),
        (taken.response_id, 3, ""),
        (taken.response_id, 2, "another principal"),
    ]
    for response_id, attempt, principal in refused:
        with pytest.raises(LeaseLost, match="does not hold the lease"):
            await upsert(db, response_id, attempt, "stolen", principal=principal)
    await upsert(db, taken.response_id, 2, "ours")
    assert await resolve(db, "c") == "ours"


async def test_a_conversation_tells_its_rotations_and_what_runs_in_it(
    db: Conn, clock: Clock
) -> None:
    first = await start(db, conversation="c")
    await append(db, first)
    clock.advance(PAST_LEASE)
    (again,) = await take_over(db)
    await finish(db, again)
    second = await start(db, conversation="c")
    seen = await queries.get_conversation(db, principal="", base="c")
    assert seen is not None
    assert seen.current_conversation_id == again.conversation_id
    assert (seen.active_response_id, seen.latest_response_id) == (second.response_id,) * 2
    (rotation,) = orjson.loads(seen.rotations)
    assert rotation.pop("at") > 0
    assert rotation == {
        "conversation_id": again.conversation_id,
        "response_id": first.response_id,
        "attempt": 2,
    }
    await finish(db, second)
    idle = await queries.get_conversation(db, principal="", base="c")
    assert idle is not None and idle.active_response_id is None


async def test_a_conversation_is_its_principals(db: Conn) -> None:
    await start(db, conversation="c", principal="them")
    assert await queries.get_conversation(db, principal="me", base="c") is None
    assert await queries.get_conversation(db, principal="them", base="other") is None
