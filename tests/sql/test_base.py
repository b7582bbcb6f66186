"""sql/00_base.sql: the clock, ids, refusals, lifecycle events."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest

from pgdurable.envelope.response import response_object
from pgdurable.models import Status
from tests.support.clock import Clock
from tests.support.engine import Conn, new_id, value


async def test_time_is_the_wall_clock_and_moves_inside_a_transaction(db: Conn) -> None:
    async with db.transaction():
        first = await value(db, "select pgdurable.now() - now()")
        second = await value(db, "select pgdurable.now() - now()")
    assert timedelta(0) <= first < second < timedelta(seconds=30)


async def test_tests_can_move_it(db: Conn, clock: Clock) -> None:
    clock.advance(timedelta(days=1))
    ahead = await value(db, "select pgdurable.now() - clock_timestamp()")
    assert ahead > timedelta(hours=23)


async def test_an_id_is_a_uuid_of_version_7_behind_a_prefix(db: Conn) -> None:
    assert re.fullmatch(r"resp_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", await new_id(db))


async def test_ids_sort_by_the_time_they_were_made(db: Conn, clock: Clock) -> None:
    ids = []
    for _ in range(20):
        ids.append(await new_id(db))
        clock.advance(timedelta(milliseconds=2))
    assert ids == sorted(ids)


async def test_ids_of_one_moment_differ_in_their_last_eight_digits(db: Conn) -> None:
    distinct = await value(
        db,
        "select count(distinct right(pgdurable.new_response_id(), 8)) from generate_series(1, 500)",
    )
    assert distinct == 500


async def test_the_first_id_of_a_moment_is_not_above_any_id_made_then(
    db: Conn, clock: Clock
) -> None:
    before = await value(db, "select pgdurable._first_response_id(pgdurable.now())")
    made = await new_id(db)
    clock.advance(timedelta(milliseconds=2))
    after = await value(db, "select pgdurable._first_response_id(pgdurable.now())")
    assert before <= made < after


async def test_a_refusal_carries_its_sqlstate_and_a_hint(db: Conn) -> None:
    with pytest.raises(psycopg.Error) as caught:
        await db.execute("select pgdurable._refuse('PD003', 'No.', 'Do this instead.')")
    assert caught.value.sqlstate == "PD003"
    assert caught.value.diag.message_primary == "No."
    assert caught.value.diag.message_hint == "Do this instead."


async def test_an_id_that_is_no_id_is_not_found_like_any_other(db: Conn) -> None:
    for response_id in ("'; drop table x; --", "", None, "é" * 1000):
        with pytest.raises(psycopg.Error) as caught:
            await db.execute("select pgdurable._refuse_not_found(%s)", [response_id])
        assert caught.value.sqlstate == "PD001"


@pytest.mark.parametrize(
    "fields",
    ["{}", '{"model":"m","tools":[]}', '{"x":"\\u0000"}', '{"n":1e100000}', '{"s":"\\ud800"}'],
)
async def test_a_lifecycle_event_is_spliced_and_copies_the_fields_as_they_stand(
    db: Conn, fields: str
) -> None:
    made = await value(
        db,
        "select pgdurable._lifecycle_event('response.created', 'resp_1',"
        " timestamptz '2026-01-02 03:04:05.9Z', 'queued', 0, %s::json, p_background => true)::text",
        fields,
    )
    inner = fields.removeprefix("{").removesuffix("}")
    assert made == (
        '{"type":"response.created","response":{"id":"resp_1","object":"response",'
        '"created_at":1767323045,"status":"queued","attempt_number":0,"error":null,'
        '"incomplete_details":null,"output":[]'
        + ("," + inner if inner else "")
        + ',"background":true}}'
    )


async def test_a_lifecycle_event_holds_the_object_that_python_makes(db: Conn) -> None:
    told: dict[str, Any] = {"error": {"code": "x"}, "incomplete_details": {"reason": "cancelled"}}
    fields: dict[str, Any] = {"model": "m", "metadata": {"a": "b"}}
    made = await value(
        db,
        "select pgdurable._lifecycle_event('response.failed', 'resp_1',"
        " timestamptz '2026-01-02 03:04:05.9Z', 'failed', 2, %s, %s, %s, %s, false)::text",
        *[orjson.dumps(part).decode() for part in (fields, *told.values(), [{"id": "msg_1"}])],
    )
    fields |= {"background": False}
    response = response_object(
        "resp_1", 1767323045, Status.FAILED, 2, fields, output=[{"id": "msg_1"}], **told
    )
    assert made == orjson.dumps({"type": "response.failed", "response": response}).decode()
