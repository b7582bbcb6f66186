"""sql/57_closing.sql: what an attempt that is gone had opened is closed, whatever is in it."""

from __future__ import annotations

import json

import pytest

from pgdurable.models import NewEvent
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    added,
    append,
    delta,
    done,
    end_by_takeover,
    last_event,
    start,
    take_over,
    types_of,
    value,
)


async def ended(db: Conn, clock: Clock, *events: NewEvent) -> str:
    """A response with these events whose only attempt died."""
    held = await start(db, max_attempts=1)
    await append(db, held, *events)
    clock.advance(PAST_LEASE)
    (end,) = await end_by_takeover(db)
    assert end.status.is_terminal
    return held.response_id


async def closings(db: Conn, response_id: str) -> list[str]:
    rows = await db.execute(
        "select e.body::text from pgdurable.events as e where e.response_id = %s"
        " and e.type = 'response.output_item.done' order by e.seq",
        [response_id],
    )
    return [row[0] for row in await rows.fetchall()]


async def test_an_item_of_the_same_id_elsewhere_is_another_one(db: Conn, clock: Clock) -> None:
    await ended(db, clock, added("msg_1", 0), done("msg_1", 0))
    response_id = await ended(db, clock, added("msg_1", 0))
    (closing,) = [json.loads(body) for body in await closings(db, response_id)]
    assert (closing["item"]["id"], closing["item"]["status"]) == ("msg_1", "incomplete")


async def test_open_items_are_closed_as_incomplete_in_the_order_they_were_opened(
    db: Conn, clock: Clock
) -> None:
    response_id = await ended(
        db, clock, added("msg_1", 0), done("msg_1", 0), added("fc_2", 1), added("fc_3", 2), delta()
    )
    _, second, third = [json.loads(body) for body in await closings(db, response_id)]
    assert (second["output_index"], second["item"]["id"], second["item"]["status"]) == (
        1,
        "fc_2",
        "incomplete",
    )
    assert (third["output_index"], third["item"]["id"]) == (2, "fc_3")
    ids = await value(
        db,
        "select array_agg(e.item_id order by e.seq) from pgdurable.events as e"
        " where e.item_id is not null",
    )
    assert ids == ["msg_1", "fc_2", "fc_3"]


async def test_the_terminal_event_holds_what_was_closed(db: Conn, clock: Clock) -> None:
    response_id = await ended(db, clock, added("msg_1", 0), done("msg_1", 0), added("fc_2", 1))
    output = (await last_event(db, response_id))["response"]["output"]
    assert [(item["id"], item["status"]) for item in output] == [
        ("msg_1", "completed"),
        ("fc_2", "incomplete"),
    ]


async def test_the_output_is_in_the_order_of_the_indexes_whichever_was_closed_first(
    db: Conn, clock: Clock
) -> None:
    response_id = await ended(db, clock, added("msg_1", 0), added("fc_2", 1), done("fc_2", 1))
    output = (await last_event(db, response_id))["response"]["output"]
    assert [item["id"] for item in output] == ["msg_1", "fc_2"]


async def test_values_are_copied_as_they_stand(db: Conn, clock: Clock) -> None:
    item = b'{"id":"fc_1","a":1e100000,"b":1e400000,"c":-0,"d":9007199254740993,"status":"x"}'
    body = b'{"type":"response.output_item.added","output_index":0,"item":' + item + b"}"
    response_id = await ended(db, clock, NewEvent("response.output_item.added", None, body))
    (closing,) = await closings(db, response_id)
    assert closing == (
        '{"type":"response.output_item.done","output_index":0,"item":{"id":"fc_1","a":1e100000,'
        '"b":1e400000,"c":-0,"d":9007199254740993,"status":"incomplete"}}'
    )


NOT_PARSED = {
    "a nul": rb'{"output_index":0,"item":{"id":"fc_1","arguments":"a\u0000b"}}',
    "a lone surrogate": rb'{"output_index":0,"item":{"id":"fc_1","arguments":"\ud800"}}',
    "no item": b'{"output_index":0}',
    "an item that is no object": b'{"output_index":0,"item":[1]}',
    "an item without an id": b'{"output_index":0,"item":{"type":"message"}}',
    "no index": b'{"item":{"id":"fc_1"}}',
    "no object": b"[]",
}


@pytest.mark.parametrize("what", NOT_PARSED)
async def test_an_item_that_cannot_be_closed_does_not_keep_the_response_from_ending(
    db: Conn, clock: Clock, what: str
) -> None:
    odd = NewEvent("response.output_item.added", None, NOT_PARSED[what])
    response_id = await ended(db, clock, odd, added("fc_2", 1))
    assert (await types_of(db, response_id))[-1] == "response.failed"
    output = (await last_event(db, response_id))["response"]["output"]
    assert [item["id"] for item in output if item["id"] != "fc_1"] == ["fc_2"]


async def test_a_closed_item_with_a_nul_is_left_out_of_the_output_and_stays_in_the_log(
    db: Conn, clock: Clock
) -> None:
    nul = NewEvent("response.output_item.done", "fc_1", NOT_PARSED["a nul"])
    response_id = await ended(db, clock, nul, done("fc_2", 1))
    output = (await last_event(db, response_id))["response"]["output"]
    assert [item["id"] for item in output] == ["fc_2"]
    assert any("\\u0000" in body for body in await closings(db, response_id))


async def test_an_escaped_backslash_before_u0000_is_no_nul(db: Conn, clock: Clock) -> None:
    response_id = await ended(db, clock, done("fc_1", 0, arguments="C:\\u0000"))
    (item,) = (await last_event(db, response_id))["response"]["output"]
    assert item["arguments"] == "C:\\u0000"


async def test_what_earlier_attempts_closed_themselves_is_not_in_the_output(
    db: Conn, clock: Clock
) -> None:
    held = await start(db, max_attempts=2)
    await append(db, held, added("msg_1", 0), done("msg_1", 0), added("fc_2", 1))
    clock.advance(PAST_LEASE)
    (again,) = await take_over(db)
    await append(db, again, added("msg_3", 2))
    clock.advance(PAST_LEASE)
    await take_over(db)
    assert [json.loads(b)["item"]["id"] for b in await closings(db, held.response_id)] == [
        "msg_1",
        "fc_2",
        "msg_3",
    ]
    output = (await last_event(db, held.response_id))["response"]["output"]
    assert [item["id"] for item in output] == ["fc_2", "msg_3"]
