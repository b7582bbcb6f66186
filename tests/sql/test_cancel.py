"""sql/60_cancel.sql: cancel and delete."""

from __future__ import annotations

import psycopg
import pytest

from pgdurable.database import queries
from pgdurable.errors import AlreadyFinished, ResponseNotFound
from pgdurable.models import Status
from tests.support.engine import (
    Conn,
    added,
    append,
    claim,
    enqueue,
    finish,
    release,
    start,
    state,
    types_of,
    value,
)


async def cancel(db: Conn, response_id: str, principal: str = "") -> Status:
    return await queries.cancel_response(db, response_id=response_id, principal=principal)


async def delete(db: Conn, response_id: str, principal: str = "") -> None:
    await queries.delete_response(db, response_id=response_id, principal=principal)


async def test_a_queued_one_is_cancelled_at_once(db: Conn) -> None:
    response_id = await enqueue(db)
    assert await cancel(db, response_id) is Status.CANCELLED
    assert await claim(db) == []


async def test_a_running_one_is_flagged_and_its_owner_decides_when(db: Conn) -> None:
    held = await start(db)
    assert await cancel(db, held.response_id) is Status.IN_PROGRESS
    row = await state(db, held.response_id)
    assert (row["status"], row["cancel_requested_at"] is not None) == ("in_progress", True)
    assert await cancel(db, held.response_id) is Status.IN_PROGRESS
    assert (await state(db, held.response_id))["cancel_requested_at"] == row["cancel_requested_at"]
    assert (await finish(db, held, Status.CANCELLED)).outcome == "ok"


async def test_a_finish_that_comes_first_wins(db: Conn) -> None:
    held = await start(db)
    await cancel(db, held.response_id)
    await finish(db, held, Status.COMPLETED)
    assert (await state(db, held.response_id))["status"] == "completed"


@pytest.mark.parametrize("status", [s for s in Status if s.is_terminal])
async def test_a_finished_one_stays_as_it_is(db: Conn, status: Status) -> None:
    held = await start(db)
    await finish(db, held, status)
    with pytest.raises(AlreadyFinished, match=f"already {status}"):
        await cancel(db, held.response_id)
    assert (await state(db, held.response_id))["status"] == status


async def test_one_that_was_handed_back_half_done_is_closed_and_cancelled(db: Conn) -> None:
    held = await start(db)
    await append(db, held, added("msg_1"))
    await release(db, held)
    assert await cancel(db, held.response_id) is Status.CANCELLED
    assert (await types_of(db, held.response_id))[-2:] == [
        "response.output_item.done",
        "response.incomplete",
    ]


async def test_somebody_elses_is_not_found_like_an_unknown_one(db: Conn) -> None:
    theirs = await enqueue(db, principal="them")
    for call in (cancel, delete):
        for response_id in (theirs, "resp_unknown", ""):
            with pytest.raises(ResponseNotFound) as caught:
                await call(db, response_id, "me")
            assert str(caught.value) == f"Response with id '{response_id}' not found."
    assert (await state(db, theirs))["status"] == "queued"


async def test_the_refusal_tells_a_person_that_responses_have_principals(db: Conn) -> None:
    theirs = await enqueue(db, principal="them")
    with pytest.raises(psycopg.Error) as caught:
        await value(db, f"select pgdurable.cancel_response('{theirs}')")
    assert caught.value.sqlstate == "PD001"
    assert "p_principal" in (caught.value.diag.message_hint or "")


async def test_worker_and_tails_are_told(dsn: str, db: Conn) -> None:
    held = await start(db)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen pgdurable_work; listen pgdurable_tail")
        await cancel(db, held.response_id)
        await delete(db, held.response_id)
        heard = [(n.channel, n.payload) async for n in listener.notifies(timeout=10, stop_after=4)]
    assert heard == [
        (channel, held.response_id) for channel in ("pgdurable_work", "pgdurable_tail") * 2
    ]
