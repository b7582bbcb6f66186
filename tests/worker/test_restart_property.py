"""A deterministic handler, killed after any event, by the SQL that takes it over."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdurable.database import queries
from pgdurable.database.queries import Finish
from pgdurable.envelope import Envelope
from pgdurable.envelope.previous import read_previous
from pgdurable.envelope.retrace import Retrace
from pgdurable.models import ClaimedResponse, NewEvent
from tests.envelope.log import Log
from tests.envelope.test_retrace import accepted, in_pieces, text_of, unnamed
from tests.envelope.yields import yields
from tests.support.engine import Conn, append, start, take_over
from tests.support.grammar import check_stream


def fresh(held: ClaimedResponse) -> Envelope:
    return Envelope(
        held.response_id, created_at=held.created_at, attempt=held.attempt, fields={"model": "m"}
    )


def no_marker() -> NewEvent:
    raise AssertionError("it says the same")


async def stored(db: Conn, response_id: str) -> list[dict[str, Any]]:
    rows = await db.execute(
        "select e.seq, e.body::text from pgdurable.events as e"
        " where e.response_id = %s order by e.seq",
        [response_id],
    )
    return [
        {**orjson.loads(body), "sequence_number": seq, "response_id": response_id}
        for seq, body in await rows.fetchall()
    ]


async def retrace(db: Conn, response_id: str) -> tuple[ClaimedResponse, Retrace]:
    """The lease runs out, and another attempt begins."""
    await db.execute(
        "update pgdurable.responses set lease_expires_at = pgdurable.now() - interval '1 s'"
        " where response_id = %s",
        [response_id],
    )
    (taken,) = await take_over(db, recovery="restart")
    assert taken.restarted
    previous = await queries.previous_events(db, response_id=response_id, attempt=taken.attempt)
    return taken, Retrace(partial(fresh, taken), read_previous(previous), marker=no_marker)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(yields, min_size=1, max_size=8), data=st.data())
async def test_a_handler_that_is_deterministic_leaves_no_seam_wherever_it_is_killed(
    values: list[object], data: st.DataObject, db: Conn
) -> None:
    values = [*accepted(values), "the end"]
    alone = Log()
    for value in values:
        alone.feed(value)
    expected = alone.complete()

    held = await start(db)
    first = fresh(held)
    told = [event for value in values for event in first.feed(value)]
    told += first.complete()[0]
    keep = data.draw(st.integers(1, len(told)))
    assert (await append(db, held, *told[:keep])).outcome == "ok"
    before = await stored(db, held.response_id)
    taken, again = await retrace(db, held.response_id)
    new = [e for value in values for piece in in_pieces(value, data) for e in again.feed(piece)]
    closing, terminal = again.complete()
    if new or closing:
        assert (await append(db, taken, *new, *closing)).outcome == "ok"
    last_seq = taken.last_seq + len(new) + len(closing)
    finish = Finish(taken.response_id, taken.attempt, last_seq, terminal)
    (finished,) = await queries.finish_responses(db, [finish])
    assert finished.outcome == "ok"

    events = await stored(db, held.response_id)
    assert events[: len(before)] == before
    assert "response.resumed" not in [event["type"] for event in events]
    assert check_stream(events) == events[-1]["response"]["output"]
    assert text_of(events) == text_of(alone.events)
    assert unnamed(events[-1]["response"]["output"]) == unnamed(expected["output"])
    assert events[-1]["response"]["status"] == expected["status"]
