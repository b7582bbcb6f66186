"""sql/10_enqueue.sql: nothing -> queued, and the idempotency key."""

from __future__ import annotations

from datetime import timedelta

import orjson
import psycopg
import pytest

from tests.support.engine import (
    Conn,
    Logged,
    enqueue,
    enqueue_all,
    last_event,
    log_of,
    new_id,
    new_response,
    state,
    value,
)


async def test_a_response_is_queued_with_its_request_and_event_0(db: Conn) -> None:
    new = await new_response(
        db, principal="p", conversation="c", previous="resp_0", metadata=b'{"a":"b"}'
    )
    (made,) = await enqueue_all(db, [new], queue="q", max_attempts=5)
    assert (made.response_id, made.outcome) == (new.response_id, "created")
    row = await state(db, new.response_id)
    assert {
        name: row[name] for name in ("status", "attempt", "last_seq", "queue", "principal")
    } == {
        "status": "queued",
        "attempt": 0,
        "last_seq": 0,
        "queue": "q",
        "principal": "p",
    }
    assert (row["max_attempts"], row["conversation_id"], row["deadline_at"]) == (5, "c", None)
    assert await log_of(db, new.response_id) == [Logged(0, 0, "response.created")]
    stored = await (
        await db.execute(
            "select q.body, q.fields, q.metadata, q.previous_response_id"
            " from pgdurable.requests as q"
        )
    ).fetchone()
    assert stored == (b'{"input":"hi"}', b'{"model":"m"}', {"a": "b"}, "resp_0")


async def test_event_0_is_answered_as_it_is_stored(db: Conn) -> None:
    (made,) = await enqueue_all(db, [await new_response(db)])
    stored = await value(db, "select e.body from pgdurable.events as e")
    assert made.event == stored
    response = orjson.loads(stored)["response"]
    assert response["status"] == "queued" and response["model"] == "m"
    assert response["created_at"] == await value(
        db, "select floor(extract(epoch from r.created_at))::bigint from pgdurable.responses as r"
    )


async def test_many_are_answered_in_the_order_they_were_given(db: Conn) -> None:
    responses = [await new_response(db) for _ in range(50)][::-1]
    made = await enqueue_all(db, responses)
    assert [m.response_id for m in made] == [r.response_id for r in responses]
    assert {m.outcome for m in made} == {"created"}


async def test_a_deadline_counts_from_now(db: Conn) -> None:
    response_id = await enqueue(db, deadline=timedelta(minutes=1))
    row = await state(db, response_id)
    assert row["deadline_at"] - row["created_at"] == timedelta(minutes=1)


async def test_the_same_ids_again_change_nothing(db: Conn) -> None:
    responses = [await new_response(db, key="k"), await new_response(db)]
    first = await enqueue_all(db, responses)
    again = await enqueue_all(db, responses)
    assert [(m.response_id, m.outcome) for m in again] == [
        (m.response_id, m.outcome) for m in first
    ]
    assert [m.event for m in again] == [None, None]
    assert await value(db, "select count(*) from pgdurable.events") == 2


@pytest.mark.parametrize(
    "body",
    [rb'{"input":"a\u0000b"}', b'{"n":1e100000}', rb'{"s":"\ud800"}', b'{"n":1e400000,"n":-0}'],
)
async def test_a_request_is_stored_as_it_was_sent(db: Conn, body: bytes) -> None:
    response_id = await enqueue(db, request=body, fields=body)
    stored = await value(db, "select q.body from pgdurable.requests as q")
    assert stored == body
    created = await value(db, "select e.body from pgdurable.events as e")
    assert body[1:-1] in created
    assert response_id.encode() in created


async def test_what_is_not_json_is_refused_and_leaves_nothing(db: Conn) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        await enqueue(db, request=b"{nonsense")
    for table in ("responses", "requests", "events", "idempotency_keys"):
        assert await value(db, f"select count(*) from pgdurable.{table}") == 0


async def test_an_id_that_is_taken_by_another_request_is_not_overwritten(db: Conn) -> None:
    taken = await enqueue(db, principal="a")
    await enqueue_all(db, [await new_response(db, response_id=taken, principal="b", request=b"{}")])
    assert (await state(db, taken))["principal"] == "a"
    assert await last_event(db, taken)
    assert await value(db, "select q.body from pgdurable.requests as q") == b'{"input":"hi"}'
    assert await new_id(db) > taken
