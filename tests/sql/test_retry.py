"""sql/65_retry.sql: the same request once more, as a new response."""

from __future__ import annotations

from datetime import timedelta

import orjson
import psycopg
import pytest

from pgdurable.database import queries
from pgdurable.errors import NotFinished, ResponseNotFound
from pgdurable.models import Status
from tests.support.engine import (
    Conn,
    attempts_of,
    claim,
    enqueue,
    finish,
    last_event,
    log_of,
    start,
    state,
    value,
)


async def retry(db: Conn, response_id: str, principal: str = "") -> str:
    return await queries.retry_response(db, response_id=response_id, principal=principal)


@pytest.mark.parametrize("status", [s for s in Status if s.is_terminal])
async def test_a_finished_one_is_enqueued_again_and_stays_as_it_is(
    db: Conn, status: Status
) -> None:
    body = rb'{"input":"a\u0000b","n":1e100000}'
    held = await start(
        db,
        request=body,
        fields=body,
        metadata=b'{"a":"b"}',
        conversation="c",
        previous="resp_0",
        store=False,
        queue="default",
        max_attempts=7,
        deadline=timedelta(hours=1),
        key="k",
    )
    await finish(db, held, status)
    before = await state(db, held.response_id), await log_of(db, held.response_id)
    new_id = await retry(db, held.response_id)
    assert new_id != held.response_id
    assert (await state(db, held.response_id), await log_of(db, held.response_id)) == before
    new, old = await state(db, new_id), before[0]
    same = ("principal", "queue", "agent", "priority", "max_attempts", "conversation_id", "store")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert (new["status"], new["attempt"], new["failed_attempts"]) == ("queued", 0, 0)
    assert new["retried_from"] == held.response_id
    assert new["deadline_at"] - new["created_at"] == timedelta(hours=1)
    (again,) = await claim(db)
    assert (again.request, again.fields, again.attempt) == (body, body, 1)
    requests = await value(
        db,
        "select count(distinct (q.metadata, q.previous_response_id)) from pgdurable.requests as q",
    )
    assert requests == 1


async def test_it_may_be_retried_more_than_once_and_so_may_the_retry(db: Conn) -> None:
    held = await start(db)
    await finish(db, held, Status.FAILED)
    first, second = await retry(db, held.response_id), await retry(db, held.response_id)
    assert first != second
    for again in await claim(db):
        await finish(db, again, Status.FAILED)
    third = await retry(db, first)
    assert (await state(db, third))["retried_from"] == first
    assert await attempts_of(db, third) == []
    assert (await last_event(db, third))["response"]["id"] == third


FROM_A_FOREGROUND_POST = {
    "now": b'{"model":"m","user":"a\\u0000b"}',
    "of release 0.1.0": b'{"background":false,"model":"m","user":"a\\u0000b"}',
}


@pytest.mark.parametrize("when", FROM_A_FOREGROUND_POST)
async def test_a_foreground_response_is_retried_in_the_background_and_says_so(
    db: Conn, when: str
) -> None:
    fields = FROM_A_FOREGROUND_POST[when]
    held = await start(db, fields=fields, background=False)
    await finish(db, held)
    new_id = await retry(db, held.response_id)
    assert (await state(db, new_id))["background"] is True
    for response_id, background in ((held.response_id, False), (new_id, True)):
        events = await db.execute(
            "select e.body from pgdurable.events as e where e.response_id = %s and e.seq = 0",
            [response_id],
        )
        for (body,) in await events.fetchall():
            response = orjson.loads(body)["response"]
            assert (response["background"], response["user"]) == (background, "a\0b")
    (again,) = await claim(db)
    assert again.background is True


async def test_what_has_not_finished_is_refused(db: Conn) -> None:
    queued = await enqueue(db)
    with pytest.raises(NotFinished, match="still queued"):
        await retry(db, queued)
    await claim(db)
    with pytest.raises(NotFinished, match="still in_progress"):
        await retry(db, queued)
    assert await value(db, "select count(*) from pgdurable.responses") == 1


async def test_somebody_elses_is_not_found(db: Conn) -> None:
    held = await start(db, principal="them")
    await finish(db, held)
    for response_id in (held.response_id, "resp_unknown"):
        with pytest.raises(ResponseNotFound):
            await retry(db, response_id, "me")


async def test_workers_are_told(dsn: str, db: Conn) -> None:
    held = await start(db)
    await finish(db, held)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen pgdurable_work")
        new_id = await retry(db, held.response_id)
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=1)]
    assert heard == [new_id]
    assert orjson.loads((await claim(db))[0].request or b"") == {"input": "hi"}
