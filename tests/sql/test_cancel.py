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
    log_of,
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


async def test_a_deleted_one_is_gone_with_everything_it_had(db: Conn) -> None:
    held = await start(db, key="k", conversation="c")
    await append(db, held)
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=held.response_id, attempt=1
    )
    other = await start(db, conversation="other")
    await delete(db, held.response_id)
    for table in ("requests", "events", "attempts", "idempotency_keys", "responses"):
        left = await value(
            db,
            f"select count(*) from pgdurable.{table} where response_id = %s",
            held.response_id,
        )
        assert left == 0, table
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c"
    assert len(await log_of(db, other.response_id)) == 2


async def test_an_alias_stays_while_its_conversation_has_responses_and_goes_with_the_last(
    db: Conn,
) -> None:
    first, second = await start(db, conversation="c"), await start(db, conversation="c")
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=first.response_id, attempt=1
    )
    await delete(db, first.response_id)
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c2"
    await delete(db, second.response_id)
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_an_alias_of_the_same_name_is_another_principals_own(db: Conn) -> None:
    ids = {}
    for name in ("ann", "bob"):
        ids[name] = (await start(db, principal=name, conversation="c")).response_id
        await queries.upsert_conversation_alias(
            db, principal=name, base="c", current=name, response_id=ids[name], attempt=1
        )
    await delete(db, ids["ann"], principal="ann")
    left = await db.execute("select a.principal from pgdurable.conversation_aliases as a")
    assert await left.fetchall() == [("bob",)]


async def test_the_alias_of_a_conversation_that_is_never_stored_stays(db: Conn) -> None:
    held = await start(db, conversation="c")
    await value(db, "update pgdurable.responses set store = false returning 1")
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=held.response_id, attempt=1
    )
    await delete(db, held.response_id)
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c2"


async def test_the_owner_of_a_deleted_one_can_write_nothing(db: Conn) -> None:
    held = await start(db)
    await delete(db, held.response_id)
    assert (await append(db, held)).outcome == "lost"
    assert (await finish(db, held)).outcome == "lost"
    assert (await release(db, held)).outcome == "lost"
    assert await value(db, "select count(*) from pgdurable.events") == 0
    with pytest.raises(ResponseNotFound):
        await delete(db, held.response_id)
