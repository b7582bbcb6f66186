"""sql/80_tail.sql: the reader's functions, one snapshot each."""

from __future__ import annotations

import pytest

from pgdurable.database import queries
from pgdurable.errors import ResponseNotFound
from pgdurable.models import ResponseSnapshot, Status
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    delta,
    done,
    enqueue,
    finish,
    start,
    take_over,
    terminal,
    value,
)


async def get(db: Conn, response_id: str, principal: str = "") -> ResponseSnapshot:
    return await queries.get_response(db, response_id=response_id, principal=principal)


async def test_a_cursor_is_the_last_number_a_reader_has(db: Conn) -> None:
    held = await start(db)
    await append(db, held, delta("a"), delta("b"))
    for cursor in range(-1, 6):
        events = await queries.read_events(db, {held.response_id: cursor})
        assert [event.seq for event in events] == list(range(cursor + 1, 4))
    events = await queries.read_events(db, {held.response_id: 1})
    assert [event.body for event in events] == [delta("a").body, delta("b").body]
    assert {(event.response_id, event.attempt) for event in events} == {(held.response_id, 1)}


async def test_many_tails_are_read_in_one_call_each_with_its_limit(db: Conn) -> None:
    held = [await start(db) for _ in range(3)]
    for h in held:
        await append(db, h, *[delta()] * 5)
    events = await queries.read_events(
        db,
        {held[0].response_id: -1, held[1].response_id: 4, held[2].response_id: 99, "resp_x": -1},
        limit=3,
    )
    assert [(event.response_id, event.seq) for event in events] == [
        *[(held[0].response_id, seq) for seq in (0, 1, 2)],
        *[(held[1].response_id, seq) for seq in (5, 6)],
    ]
    assert await queries.read_events(db, {}) == []


async def test_a_running_response_shows_the_items_of_its_current_attempt(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, principal="p", conversation="c", fields=b'{"model":"m"}')
    await append(db, held, done("msg_1"), delta(), done("msg_2", 1))
    seen = await get(db, held.response_id, "p")
    assert (seen.status, seen.attempt, seen.last_seq) == (Status.IN_PROGRESS, 1, 4)
    assert (seen.principal, seen.conversation_id) == ("p", "c")
    assert seen.fields == b'{"model":"m"}'
    assert seen.items == [done("msg_1").body, done("msg_2", 1).body]
    assert (seen.terminal, seen.background, seen.store) == (None, True, True)
    clock.advance(PAST_LEASE)
    await take_over(db)
    assert (await get(db, held.response_id, "p")).items == []


async def test_a_finished_response_shows_its_terminal_event(db: Conn) -> None:
    held = await start(db)
    await append(db, held, done("msg_1"))
    await finish(db, held, after=2)
    seen = await get(db, held.response_id)
    assert (seen.status, seen.items) == (Status.COMPLETED, None)
    assert seen.terminal == terminal().event.body


async def test_a_queued_response_shows_that(db: Conn) -> None:
    response_id = await enqueue(db)
    seen = await get(db, response_id)
    assert (seen.status, seen.attempt, seen.last_seq, seen.items) == (Status.QUEUED, 0, 0, [])
    created = await value(
        db, "select floor(extract(epoch from r.created_at))::bigint from pgdurable.responses as r"
    )
    assert seen.created_at == created


async def test_somebody_elses_is_not_found_like_an_unknown_one(db: Conn) -> None:
    theirs = await enqueue(db, principal="them")
    said = set()
    for response_id in (theirs, "resp_unknown"):
        for call in (queries.get_response, queries.get_request):
            with pytest.raises(ResponseNotFound) as caught:
                await call(db, response_id=response_id, principal="me")
            said.add(str(caught.value).replace(response_id, "ID"))
    assert len(said) == 1


async def test_the_request_comes_back_as_it_was_sent(db: Conn) -> None:
    body = rb'{"input":"a\u0000b","n":1e100000}'
    response_id = await enqueue(db, request=body)
    assert await queries.get_request(db, response_id=response_id, principal="") == body


async def test_those_that_were_deleted_are_missing(db: Conn) -> None:
    stays, goes = await enqueue(db), await enqueue(db)
    await queries.delete_response(db, response_id=goes, principal="")
    assert await queries.existing_responses(db, [stays, goes, "resp_x"]) == {stays}
    assert await queries.existing_responses(db, []) == set()
