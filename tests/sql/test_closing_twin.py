"""sql/57_closing.sql: it closes an open item with the very events that the envelope would write."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdurable.database import connections
from pgdurable.errors import InvalidEvent
from pgdurable.models import NewEvent
from tests.envelope.log import Log
from tests.envelope.yields import yields
from tests.support.clock import Clock
from tests.support.engine import PAST_LEASE, Conn, append, end_by_takeover, start
from tests.support.grammar import check_stream

NUL = b"\\u0000"


def streamed(sequence: list[object]) -> Log:
    """An attempt that yielded this and was cut off."""
    log = Log()
    for one in sequence:
        with contextlib.suppress(InvalidEvent):
            log.feed(one)
    return log


def stored(log: Log) -> list[NewEvent]:
    """What the attempt appended, as the writer hands it over."""
    done = "response.output_item.done"
    return [
        NewEvent(kind, orjson.loads(body)["item"]["id"] if kind == done else None, body)
        for kind, body in log.stored[2:]
    ]


def closings_of_the_envelope(log: Log) -> list[dict[str, Any]]:
    before = len(log.stored) + 1
    log.start()
    return [orjson.loads(body) for _, body in log.stored[before:]]


async def log_after_its_end(db: Conn, clock: Clock, events: list[NewEvent]) -> list[dict[str, Any]]:
    """All that is stored of a response whose only attempt appended these and died."""
    held = await start(db, max_attempts=1)
    if events:
        await append(db, held, *events)
    clock.advance(PAST_LEASE)
    (end,) = await end_by_takeover(db)
    assert end.status.is_terminal
    rows = await db.execute(
        "select e.body::text from pgdurable.events as e where e.response_id = %s order by e.seq",
        [held.response_id],
    )
    return [orjson.loads(row[0]) for row in await rows.fetchall()]


def delta(kind: str, item_id: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "item_id": item_id, "delta": text, **fields}


def added(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item}


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
CITATION = {"type": "url_citation", "url": 'https://example.org/a"b'}
ANNOTATION = "response.output_text.annotation.added"
BY_PART_TYPE = {
    "output_text": ("text", "annotations"),
    "refusal": ("refusal",),
    "reasoning_text": ("text",),
    "summary_text": ("text",),
}
STREAMS: dict[str, list[object]] = {
    "nothing": [],
    "text": ["Half ", 'a "sentence"\n', "ä€😀\\"],
    "an item and nothing in it": [added(type="message", id="m")],
    "a text that has ended in a part that has not": [
        "all",
        {"type": "response.output_text.done", "text": "all"},
    ],
    "a closed part, and an open one": [
        delta("output_text", "m", "one", content_index=0),
        {
            "type": "response.content_part.done",
            "item_id": "m",
            "content_index": 0,
            "part": {"type": "output_text", "text": "one"},
        },
        delta("refusal", "m", "no", content_index=1),
    ],
    "annotations": [
        delta("output_text", "m", "see"),
        {"type": ANNOTATION, "item_id": "m", "annotation": CITATION},
        {"type": ANNOTATION, "item_id": "m", "annotation": CITATION},
    ],
    "a part without text": [
        added(type="message", id="m"),
        {
            "type": "response.content_part.added",
            "item_id": "m",
            "part": {"type": "output_image", "url": "u"},
        },
    ],
    "reasoning": [
        added(type="reasoning", id="r"),
        delta("reasoning_summary_text", "r", "in short"),
        delta("reasoning_text", "r", "at length"),
    ],
    "an event of another kind with a part's index": [
        added(type="message", id="m"),
        {"type": "response.unheard.of", "item_id": "m", "output_index": 0, "summary_index": 0},
    ],
    "arguments": [added(**CALL), delta("function_call_arguments", "fc_1", '{"a":')],
    "arguments that have ended": [
        added(**CALL),
        delta("function_call_arguments", "fc_1", "{"),
        {"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "{}"},
    ],
    "arguments that have ended as something else": [
        added(**CALL),
        delta("function_call_arguments", "fc_1", "{"),
        {"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "[]"},
    ],
    "code": [
        added(type="code_interpreter_call", id="c"),
        delta("code_interpreter_call_code", "c", "1 +"),
    ],
    "several at once": [
        added(type="message", id="m"),
        added(**CALL),
        delta("output_text", "m", "x"),
        delta("function_call_arguments", "fc_1", "y"),
    ],
}


def known(event: dict[str, Any]) -> dict[str, Any]:
    """Without what else a handler declared of a part that it closed itself: only SQL keeps it."""
    for holder in ("content", "summary"):
        for part in event.get("item", {}).get(holder, ()):
            if part["type"] in BY_PART_TYPE:
                for key in part.keys() - {"type", *BY_PART_TYPE[part["type"]]}:
                    del part[key]
    return event


async def check(db: Conn, clock: Clock, sequence: list[object]) -> None:
    log = streamed(sequence)
    events = stored(log)
    everything = await log_after_its_end(db, clock, events)
    closings = everything[2 + len(events) : -2]
    if any(NUL in event.body for event in events):
        return  # Postgres cannot take that apart: the test after the next tells what becomes of it
    check_stream([{**event, "sequence_number": n} for n, event in enumerate(everything)])
    theirs = closings_of_the_envelope(log)
    assert [known(event) for event in closings] == [known(event) for event in theirs]


@pytest.mark.parametrize("what", STREAMS)
async def test_it_closes_as_the_envelope_does(db: Conn, clock: Clock, what: str) -> None:
    await check(db, clock, STREAMS[what])


async def test_text_that_cannot_be_taken_apart_leaves_the_item_to_be_closed_without(
    db: Conn, clock: Clock
) -> None:
    everything = await log_after_its_end(db, clock, stored(streamed(["a\0b"])))
    (closing,) = everything[5:-2]
    assert closing["type"] == "response.output_item.done"
    assert (closing["item"]["status"], closing["item"]["content"]) == ("incomplete", [])
    assert everything[-1]["response"]["output"] == [closing["item"]]


@given(sequence=st.lists(yields, max_size=12))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_was_yielded_it_closes_as_the_envelope_does(
    dsn: str, clock: Clock, sequence: list[object]
) -> None:
    async def run() -> None:
        async with await connections.connect(dsn, name="test") as db:
            await check(db, clock, sequence)

    asyncio.run(run())
