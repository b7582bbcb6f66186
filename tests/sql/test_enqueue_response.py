"""sql/13_enqueue_response.sql: the door for a person, and for a transaction of one's own."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import queries
from pgdurable.errors import IdempotencyConflict
from tests.support.clock import Clock
from tests.support.engine import (
    Conn,
    claim,
    last_event,
    state,
    value,
)


async def test_a_person_needs_no_more_than_a_request(db: Conn) -> None:
    response_id = await value(db, """select pgdurable.enqueue_response('{"input":"hi"}')""")
    row = await state(db, response_id)
    assert (row["status"], row["queue"], row["agent"], row["principal"]) == (
        "queued",
        "default",
        "",
        "",
    )
    assert [held.response_id for held in await claim(db)] == [response_id]


async def test_it_exists_if_and_when_the_caller_commits(dsn: str, db: Conn) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as theirs:
        response_id = await queries.enqueue_response(theirs, {"input": "hi"})
        assert await claim(db) == []
        await theirs.rollback()
        assert await value(db, "select count(*) from pgdurable.responses") == 0
        response_id = await queries.enqueue_response(theirs, {"input": "hi"})
        await theirs.commit()
    assert [held.response_id for held in await claim(db)] == [response_id]


async def test_what_the_response_object_echoes(db: Conn) -> None:
    request = {"input": "hi", "model": "m", "temperature": 0.5, "metadata": {"a": "b"}, "odd": 1}
    response_id = await queries.enqueue_response(db, request)
    response = (await last_event(db, response_id))["response"]
    assert response["model"] == "m" and response["temperature"] == 0.5
    assert response["metadata"] == {"a": "b"} and response["tools"] == []
    assert "odd" not in response and "input" not in response


async def test_the_model_defaults_to_the_agent(db: Conn) -> None:
    response_id = await queries.enqueue_response(db, {"input": "hi", "model": None}, agent="helper")
    assert (await last_event(db, response_id))["response"]["model"] == "helper"


@pytest.mark.parametrize("metadata", ["null", "{}"])
async def test_metadata_that_is_null_is_none(db: Conn, metadata: str) -> None:
    body = f'{{"input":"hi","metadata":{metadata}}}'
    await value(db, "select pgdurable.enqueue_response(%s)", body)
    assert await value(db, "select q.metadata from pgdurable.requests as q") == {}


async def test_a_conversation_that_is_named_wins(db: Conn) -> None:
    response_id = await value(
        db,
        """
        select pgdurable.enqueue_response(
          '{"input":"hi","conversation":"v"}', p_conversation_id => 'mine'
        )
        """,
    )
    assert (await state(db, response_id))["conversation_id"] == "mine"


async def test_a_key_with_another_request_is_refused(db: Conn) -> None:
    first = await queries.enqueue_response(db, {"input": "a"}, idempotency_key="k")
    assert await queries.enqueue_response(db, {"input": "a"}, idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict, match="'k' was used before"):
        await queries.enqueue_response(db, {"input": "b"}, idempotency_key="k")


async def test_a_delay_keeps_it_from_being_claimed_until_then(db: Conn, clock: Clock) -> None:
    request = '{"input":"hi"}'
    await value(db, "select pgdurable.enqueue_response(%s, p_delay => interval '1 min')", request)
    assert await claim(db) == []
    clock.advance(timedelta(seconds=61))
    assert len(await claim(db)) == 1


async def test_a_nul_which_jsonb_cannot_hold_is_refused(db: Conn) -> None:
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        await value(db, """select pgdurable.enqueue_response('{"input":"\\u0000"}')""")
    assert await value(db, "select count(*) from pgdurable.responses") == 0


async def test_workers_are_told_when_it_commits(dsn: str, db: Conn) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen pgdurable_work")
        async with db.transaction():
            response_id = await queries.enqueue_response(db, {"input": "hi"})
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=1)]
    assert heard == [response_id]
