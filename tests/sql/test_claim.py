"""sql/20_claim.sql: queued -> in_progress."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgdurable.models import Status
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    Conn,
    Logged,
    attempts_of,
    claim,
    enqueue,
    enqueue_all,
    last_event,
    log_of,
    new_response,
    release,
    start,
    state,
    value,
)


async def test_a_claim_takes_the_lease_and_opens_the_first_attempt(db: Conn) -> None:
    response_id = await enqueue(
        db, principal="p", request=b'{"input":"x"}', fields=b'{"model":"y"}'
    )
    (held,) = await claim(db, "worker-1")
    assert (held.response_id, held.attempt, held.status) == (response_id, 1, Status.IN_PROGRESS)
    assert (held.last_seq, held.event_type, held.resumed) == (1, "response.in_progress", False)
    assert (held.principal, held.request) == ("p", b'{"input":"x"}')
    assert held.fields == b'{"model":"y"}'
    row = await state(db, response_id)
    assert (row["status"], row["worker_id"], row["failed_attempts"]) == (
        "in_progress",
        "worker-1",
        0,
    )
    assert row["lease_expires_at"] - row["started_at"] == LEASE
    assert held.created_at == int(row["created_at"].timestamp())
    assert await log_of(db, response_id) == [
        Logged(0, 0, "response.created"),
        Logged(1, 1, "response.in_progress"),
    ]
    assert (await last_event(db, response_id))["response"]["status"] == "in_progress"
    assert await attempts_of(db, response_id) == [(1, "worker-1", "claim", False, None)]


async def test_nobody_gets_what_somebody_has(db: Conn) -> None:
    await start(db)
    assert await claim(db, "b") == []


async def test_never_more_than_the_limit(db: Conn) -> None:
    await enqueue_all(db, [await new_response(db) for _ in range(10)])
    assert [len(await claim(db, limit=n)) for n in (0, 1, 4, 10)] == [0, 1, 4, 5]


@pytest.mark.parametrize("limit", [1, 100])
async def test_the_highest_priority_goes_first_then_the_oldest(db: Conn, limit: int) -> None:
    enqueue = """select pgdurable.enqueue_response('{"input":"hi"}', p_priority => %s)"""
    ids = [await value(db, enqueue, priority) for priority in (0, 5, 0, 5, -1)]
    order = [held.response_id for held in await claim(db, limit=limit)]
    order += [held.response_id for _ in range(4) for held in await claim(db, limit=limit)]
    assert order == [ids[1], ids[3], ids[0], ids[2], ids[4]]


async def test_what_was_handed_back_waits_behind_what_was_there_before(db: Conn) -> None:
    held = await start(db)
    ids = [await enqueue(db) for _ in range(2)]
    await release(db, held)
    taken = [again.response_id for _ in range(3) for again in await claim(db, limit=1)]
    assert taken == [*ids, held.response_id]


async def test_only_the_queues_that_were_named(db: Conn) -> None:
    for queue in ("a", "b", "c"):
        await enqueue(db, queue=queue)
    assert await claim(db, queues=[]) == []
    assert len(await claim(db, queues=["a", "b", "none"])) == 2
    assert len(await claim(db, queues=["c", "c"])) == 1


async def test_the_limit_counts_over_all_queues(db: Conn) -> None:
    for queue in ("a", "b"):
        for _ in range(3):
            await enqueue(db, queue=queue)
    assert len(await claim(db, queues=["a", "b"], limit=4)) == 4


async def test_what_is_past_its_deadline_is_not_started(db: Conn, clock: Clock) -> None:
    await enqueue(db, deadline=timedelta(seconds=5))
    clock.advance(timedelta(seconds=6))
    assert await claim(db) == []


async def test_a_row_that_somebody_holds_is_passed_over(dsn: str, db: Conn) -> None:
    first, second = await enqueue(db), await enqueue(db)
    with psycopg.connect(dsn) as person:
        person.execute("select from pgdurable.responses where response_id = %s for update", [first])
        assert [held.response_id for held in await claim(db)] == [second]


async def test_a_request_with_a_nul_is_claimed_like_any_other(db: Conn) -> None:
    body = rb'{"input":"a\u0000b","n":1e100000}'
    held = await start(db, request=body, fields=body)
    assert held.request == body
    assert held.event is not None
    assert rb"\u0000" in held.event and b"1e100000" in held.event


async def test_work_of_one_agent_is_claimed_by_workers_that_have_it_only(db: Conn) -> None:
    research, chat = await enqueue(db, agent="research"), await enqueue(db, agent="chat")
    assert await claim(db, agents=[]) == []
    assert [held.response_id for held in await claim(db, agents=["chat"])] == [chat]
    both = await claim(db, agents=["chat", "research"])
    assert [held.response_id for held in both] == [research]


async def test_what_names_no_agent_goes_to_any_worker_that_has_one(db: Conn) -> None:
    response_id = await enqueue(db, agent="")
    assert [held.response_id for held in await claim(db, agents=["chat"])] == [response_id]
