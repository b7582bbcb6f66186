"""Defects of the seed in who may write what: 1, 2, 8, 9, 11, 12, 21, 22."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from pgdurable.models import Status
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import Conn
from tests.support.inside import inside
from tests.support.waiting import wait_until


async def test_defect_01_a_zombie_cannot_harm_its_healthy_successor(
    conn: Conn, clock: Clock
) -> None:
    zombie = await engine.start(conn, "zombie")
    clock.advance(engine.PAST_LEASE)
    (successor,) = await engine.take_over(conn, "successor")

    assert (await engine.append(conn, zombie, engine.delta())).outcome == "lost"
    assert (await engine.finish(conn, zombie, Status.FAILED)).outcome == "lost"
    assert (await engine.append(conn, successor, engine.delta())).outcome == "ok"
    after = successor.last_seq + 1
    assert (await engine.finish(conn, successor, after=after)).outcome == "ok"

    assert (await engine.state(conn, zombie.response_id))["status"] == "completed"
    log = await engine.log_of(conn, zombie.response_id)
    assert [event.seq for event in log] == list(range(len(log)))


async def test_defect_02_what_a_zombie_appends_is_not_in_the_log(conn: Conn, clock: Clock) -> None:
    zombie = await engine.start(conn, "zombie")
    await engine.append(conn, zombie, engine.delta("before"))
    clock.advance(engine.PAST_LEASE)
    (successor,) = await engine.take_over(conn, "successor")
    before = await engine.log_of(conn, zombie.response_id)

    late = await engine.append(conn, zombie, engine.delta("late"), after=successor.last_seq)

    assert late.outcome == "lost"
    assert await engine.log_of(conn, zombie.response_id) == before
    assert before[-1].type == "response.resumed"


async def test_defect_08_a_used_up_pool_does_not_cost_the_lease(dsn: str, conn: Conn) -> None:
    """Nor does saying nothing for several leases: appends would renew them too."""
    said, over = asyncio.Event(), asyncio.Event()

    async def silent(request: Any) -> AsyncIterator[str]:
        yield "word "
        said.set()
        await over.wait()

    async with inside(dsn, silent, pool_size=2) as server, AsyncExitStack() as held:
        response_id = await server.post()
        await said.wait()
        for _ in range(2):
            await held.enter_async_context(server.runtime.pool.connection())
        first = (await engine.state(conn, response_id))["lease_expires_at"]

        async def is_renewed() -> Any:
            state = await engine.state(conn, response_id)
            lasts = state["lease_expires_at"] - first
            return state["attempt"] > 1 or lasts > timedelta(seconds=2.5)

        await wait_until(is_renewed)  # two and a half leases later
        over.set()

        async def is_over() -> Any:
            return (await engine.state(conn, response_id))["finished_at"]

        await wait_until(is_over)

    state = await engine.state(conn, response_id)
    assert (state["status"], state["attempt"]) == ("completed", 1)


async def test_defect_09_a_deploy_is_no_crash(dsn: str, conn: Conn) -> None:
    async def slow(request: Any, context: Any) -> AsyncIterator[str]:
        for _ in range(5 if context.is_recovery else 1000):
            yield "word "
            await asyncio.sleep(0.05)

    lease: dict[str, Any] = {
        "heartbeat_stale_threshold_seconds": 60
    }  # nobody waits for it to run out
    async with inside(dsn, slow, worker=False) as front:
        async with inside(dsn, slow, **lease) as old:
            response_id = await old.post()

            async def has_begun() -> Any:
                return (await engine.state(conn, response_id))["last_seq"] > 5

            await wait_until(has_begun)
        async with inside(dsn, slow, **lease):
            response = await front.finished(response_id)

    assert response["status"] == "completed"
    state = await engine.state(conn, response_id)
    assert (state["attempt"], state["failed_attempts"]) == (2, 0)


async def test_defect_11_a_request_that_kills_its_workers_is_given_up(
    conn: Conn, clock: Clock
) -> None:
    held = await engine.start(conn, "worker 1", max_attempts=3)
    for number in (2, 3):
        clock.advance(engine.PAST_LEASE)
        (taken,) = await engine.take_over(conn, f"worker {number}")
        assert (taken.status, taken.attempt) == ("in_progress", number)
    clock.advance(engine.PAST_LEASE)

    (ended,) = await engine.end_by_takeover(conn, worker="worker 4")

    assert ended.status == "failed"
    last = await engine.last_event(conn, held.response_id)
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "max_attempts"


async def test_defect_12_a_worker_takes_as_many_responses_as_it_has_room_for(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    at_once = peak = 0

    async def counted(request: Any) -> AsyncIterator[str]:
        nonlocal at_once, peak
        at_once += 1
        peak = max(peak, at_once)
        yield "word"
        await asyncio.sleep(0.1)
        at_once -= 1

    for _ in range(6):
        await engine.enqueue(conn)
    abandoned = await engine.claim(conn, "dead")
    clock.advance(engine.PAST_LEASE)
    queued = [await engine.enqueue(conn) for _ in range(6)]

    async with inside(dsn, counted, concurrency=2) as server:
        for response_id in [*queued, *(claimed.response_id for claimed in abandoned)]:
            assert (await server.finished(response_id))["status"] == "completed"

    assert peak == 2


async def test_defect_12_a_server_that_cannot_keep_up_says_so(dsn: str, conn: Conn) -> None:
    async def handler(request: Any) -> str:
        return "word"

    async with inside(dsn, invoke=handler, max_queued=2, worker=False) as server:

        async def post() -> int:
            body = {"input": "hi", "background": True}
            async with server.session.post(f"{server.url}/responses", json=body) as answer:
                if answer.status != 200:
                    assert answer.headers["retry-after"]
                return answer.status

        async with await psycopg.AsyncConnection.connect(dsn) as person:
            await person.execute("lock table pgdurable.responses in share mode")
            posts = [asyncio.create_task(post()) for _ in range(10)]
            await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        statuses = await asyncio.gather(*posts)

    assert set(statuses) == {200, 503}
    stored = await engine.value(conn, "select count(*) from pgdurable.responses")
    assert stored == statuses.count(200)


async def test_defect_21_leases_are_told_by_the_databases_clock_alone(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    """A machine whose clock is three days off: nobody's lease is longer or shorter for it."""
    clock.advance(timedelta(days=3))
    over = asyncio.Event()

    async def waits(request: Any) -> AsyncIterator[str]:
        yield "word"
        await over.wait()

    async with inside(dsn, waits) as server:
        response_id = await server.post()

        async def has_spoken() -> Any:
            return (await engine.state(conn, response_id))["last_seq"] > 3

        await wait_until(has_spoken)
        first = (await engine.state(conn, response_id))["lease_expires_at"]

        async def is_renewed() -> Any:  # by a heartbeat: nothing more is said
            return (await engine.state(conn, response_id))["lease_expires_at"] != first

        await wait_until(is_renewed)
        expires = (await engine.state(conn, response_id))["lease_expires_at"]
        assert clock.now() < expires <= clock.now() + timedelta(seconds=1)
        assert expires - datetime.now(UTC) > timedelta(days=2)
        over.set()
        assert (await server.finished(response_id))["status"] == "completed"

    assert (await engine.state(conn, response_id))["attempt"] == 1


async def test_defect_22_a_takeover_happens_whole_or_not_at_all(conn: Conn, clock: Clock) -> None:
    held = await engine.start(conn, "dead", conversation="thread")
    await engine.append(conn, held, engine.delta())
    clock.advance(engine.PAST_LEASE)

    async def everything() -> list[Any]:
        tables = ["responses", "events", "attempts", "conversation_aliases"]
        query = " union all ".join(
            f"select '{table}', t::text from pgdurable.{table} as t" for table in tables
        )
        rows = await conn.execute(query)
        return sorted(await rows.fetchall())

    before = await everything()
    async with conn.transaction(force_rollback=True):
        (taken,) = await engine.take_over(conn, "successor")
        assert taken.attempt == 2
        during = await everything()
        assert len(during) == len(before) + 3  # an event, an attempt, an alias
    assert await everything() == before
