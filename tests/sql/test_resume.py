"""sql/70_resume.sql: what an attempt may know of the ones before it."""

from __future__ import annotations

from pgdurable.database import queries
from pgdurable.models import Event, Status
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    claim,
    delta,
    done,
    enqueue,
    finish,
    start,
    state,
    take_over,
)


async def previous(db: Conn, response_id: str, attempt: int) -> list[Event]:
    return await queries.previous_events(db, response_id=response_id, attempt=attempt)


async def test_every_earlier_attempt_is_remembered_not_only_the_last(
    db: Conn, clock: Clock
) -> None:
    held = await start(db)
    for _ in range(2):
        await append(db, held, delta(f"attempt {held.attempt}"))
        clock.advance(PAST_LEASE)
        (held,) = await take_over(db)
    events = await previous(db, held.response_id, held.attempt)
    assert [(event.attempt, event.type) for event in events] == [
        (1, "response.in_progress"),
        (1, "response.output_text.delta"),
        (2, "response.resumed"),
        (2, "response.output_text.delta"),
    ]
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.body for event in events][1::2] == [
        delta("attempt 1").body,
        delta("attempt 2").body,
    ]
    assert await previous(db, held.response_id, 1) == []
    assert await previous(db, "resp_unknown", 2) == []


async def test_what_a_request_points_to_is_looked_for_within_the_principal(db: Conn) -> None:
    mine, theirs = await start(db, principal="me"), await start(db, principal="them")
    await append(db, mine, done("msg_1"))
    await append(db, theirs, done("msg_2"))
    unknown = await queries.unknown_references(
        db,
        principal="me",
        response_ids=[mine.response_id, theirs.response_id, "resp_x"],
        item_ids=["msg_0", "msg_1", "msg_2"],
    )
    assert unknown == [theirs.response_id, "resp_x", "msg_0", "msg_2"]


async def test_items_are_found_by_id_within_the_principal(db: Conn) -> None:
    mine, theirs = await start(db, principal="me"), await start(db, principal="them")
    await append(db, mine, done("msg_1"), done("msg_2", 1))
    await append(db, theirs, done("msg_3"))
    found = await queries.read_items(
        db, principal="me", item_ids=["msg_2", "msg_3", "unknown", "msg_1"]
    )
    assert [(item.item_id, item.response_id) for item in found] == [
        ("msg_1", mine.response_id),
        ("msg_2", mine.response_id),
    ]
    assert found[0].event == done("msg_1").body
    assert await queries.read_items(db, principal="me", item_ids=[]) == []


async def test_of_equal_item_ids_the_newest_counts(db: Conn) -> None:
    for text in ("old", "new"):
        held = await start(db)
        await append(db, held, done("msg_1", text=text))
    (item,) = await queries.read_items(db, principal="", item_ids=["msg_1"])
    assert item.event == done("msg_1", text="new").body
    assert item.response_id == held.response_id


async def test_a_chain_is_read_oldest_first_with_how_each_ended(db: Conn) -> None:
    first = await start(db, request=b'{"input":"1"}')
    await finish(db, first)
    second = await start(db, request=b'{"input":"2"}', previous=first.response_id)
    chain = await queries.read_chain(db, principal="", previous_response_id=second.response_id)
    assert [(link.response_id, link.request) for link in chain] == [
        (first.response_id, b'{"input":"1"}'),
        (second.response_id, b'{"input":"2"}'),
    ]
    assert [link.status for link in chain] == [Status.COMPLETED, Status.IN_PROGRESS]
    assert chain[0].terminal is not None and chain[1].terminal is None


async def test_a_chain_ends_at_what_was_deleted_or_is_unknown(db: Conn) -> None:
    first = await enqueue(db)
    second = await enqueue(db, previous=first)
    third = await enqueue(db, previous=second)
    await queries.delete_response(db, response_id=first, principal="")
    chain = await queries.read_chain(db, principal="", previous_response_id=third)
    assert [link.response_id for link in chain] == [second, third]
    assert await queries.read_chain(db, principal="", previous_response_id="resp_unknown") == []


async def test_a_chain_shows_nothing_of_another_principal(db: Conn) -> None:
    theirs = await enqueue(db, principal="them")
    mine = await enqueue(db, principal="me", previous=theirs)
    chain = await queries.read_chain(db, principal="me", previous_response_id=mine)
    assert [link.response_id for link in chain] == [mine]
    assert await queries.read_chain(db, principal="me", previous_response_id=theirs) == []


async def test_a_chain_that_loops_or_is_endless_is_cut(db: Conn) -> None:
    first = await enqueue(db)
    second = await enqueue(db, previous=first)
    await db.execute(
        "update pgdurable.requests set previous_response_id = %s where response_id = %s",
        [second, first],
    )
    chain = await queries.read_chain(db, principal="", previous_response_id=second)
    assert len(chain) == 100
    assert len(await claim(db)) == 2 and (await state(db, first))["attempt"] == 1
