"""One process among others: who gets work, what is kept in memory, what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from pgdurable import LongRunningSettings
from pgdurable.agent import get_request_headers
from pgdurable.database import connections
from pgdurable.events.enqueuer import Enqueuer
from pgdurable.events.listener import BACKSTOP_SECONDS
from pgdurable.process import runtime
from tests.support import engine
from tests.support.engine import Conn
from tests.support.inside import inside, text_of
from tests.support.waiting import wait_until


async def test_more_than_a_process_can_take_wakes_the_others(dsn: str) -> None:
    begun = []
    over = asyncio.Event()

    async def waits(request: Any) -> AsyncIterator[str]:
        begun.append(request)
        yield "word"
        await over.wait()

    async with (
        inside(dsn, waits, concurrency=1) as busy,
        inside(dsn, waits) as idle,
    ):
        await wait_until(lambda: busy.runtime.listening and idle.runtime.listening)
        posted_at = time.monotonic()
        ids = await asyncio.gather(*[busy.post() for _ in range(5)])
        await wait_until(lambda: len(begun) == 5)
        assert time.monotonic() - posted_at < BACKSTOP_SECONDS / 2
        over.set()
        for response_id in ids:
            assert (await busy.finished(response_id))["status"] == "completed"


async def test_a_post_wakes_a_worker_in_another_process(dsn: str) -> None:
    async def says_hello(request: Any) -> AsyncIterator[str]:
        yield "hello"

    async with inside(dsn, says_hello, worker=False) as front, inside(dsn, says_hello) as other:
        await wait_until(lambda: front.runtime.listening and other.runtime.listening)
        posted_at = time.monotonic()
        for _ in range(3):
            assert text_of(await front.finished(await front.post())) == "hello"
        assert time.monotonic() - posted_at < BACKSTOP_SECONDS


async def test_headers_reach_the_handler_also_after_a_wait_for_a_free_slot(dsn: str) -> None:
    seen = []

    async def who(request: Any) -> AsyncIterator[str]:
        seen.append(get_request_headers()["x-user"])
        yield "word"

    async with inside(dsn, who, concurrency=1) as server:
        ids = []
        for number in range(5):
            body = {"input": "hi", "background": True}
            headers = {"X-User": str(number)}
            url = f"{server.url}/responses"
            async with server.session.post(url, json=body, headers=headers) as answer:
                ids.append((await answer.json())["id"])
        for response_id in ids:
            await server.finished(response_id)
        assert server.runtime.headers == {}
    assert sorted(seen) == list("01234")


async def test_headers_reach_a_handler_in_its_thread(dsn: str) -> None:
    def invoked(request: Any) -> str:
        return get_request_headers()["x-user"]

    def streamed(request: Any) -> Iterator[str]:
        yield get_request_headers()["x-user"]

    async with inside(dsn, streamed, invoke=invoked) as server:
        for number, stream in enumerate((True, False)):
            body = {"input": "hi", "background": True, "stream": stream}
            headers = {"X-User": f"user {number}"}
            url = f"{server.url}/responses"
            async with server.session.post(url, json=body, headers=headers) as answer:
                response_id = answer.headers["X-Response-Id"]
            assert text_of(await server.finished(response_id)) == headers["X-User"]


async def test_headers_of_responses_that_others_work_on_are_not_kept_for_ever(
    dsn: str, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "MAX_HEADERS", 3)
    over = asyncio.Event()

    async def waits(request: Any) -> AsyncIterator[str]:
        yield "word"
        await over.wait()

    async with inside(dsn, waits, concurrency=1) as server:
        ids = [await server.post() for _ in range(6)]
        assert list(server.runtime.headers) == ids[-3:]
        over.set()
        for response_id in ids:
            await server.finished(response_id)
        assert server.runtime.headers == {}


async def test_what_postgres_refuses_of_many_posts_costs_none_of_the_others(
    dsn: str, conn: Conn
) -> None:
    posts = [await engine.new_response(conn) for _ in range(5)]
    posts[2] = posts[2]._replace(fields=b"{no JSON")
    enqueuer = Enqueuer(dsn, settings=LongRunningSettings(), agent="agent")
    asked = [asyncio.create_task(enqueuer.enqueue(post)) for post in posts]
    await wait_until(lambda: enqueuer.waiting == 5)
    running = asyncio.create_task(enqueuer.run())
    answers = await asyncio.gather(*asked, return_exceptions=True)
    await connections.cancel_and_wait(running)

    assert isinstance(answers.pop(2), psycopg.DataError)
    del posts[2]
    ids = [answer.response_id for answer in answers if not isinstance(answer, BaseException)]
    assert ids == [post.response_id for post in posts]


DEEP = "[" * 2000 + "]" * 2000


@pytest.mark.parametrize("echoed", [False, True])
async def test_a_request_that_only_sql_could_enqueue_fails_alone(
    dsn: str, conn: Conn, echoed: bool
) -> None:
    """Postgres takes what our parser does not; it is claimed together with healthy ones."""

    async def says_hello(request: Any) -> AsyncIterator[str]:
        yield "hello"

    odd = await engine.enqueue(conn)
    body = '{"input":"hi","tools":' + DEEP + "}"
    await conn.execute(
        "update pgdurable.requests as q set body = %s, fields = %s where q.response_id = %s",
        [body, body if echoed else "{}", odd],
    )
    healthy = [await engine.enqueue(conn) for _ in range(3)]
    async with inside(dsn, says_hello) as server:
        for response_id in healthy:
            assert text_of(await server.finished(response_id)) == "hello"

        async def is_over() -> Any:
            return (await engine.state(conn, odd))["finished_at"]

        await wait_until(is_over)

    state = await engine.state(conn, odd)
    assert (state["status"], state["attempt"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "input"),
        (b'{"input":5}', "input"),
        (b'{"input":[1]}', "input[0]"),
        (b'{"input":"hi","previous_response_id":5}', "previous_response_id"),
    ],
)
async def test_a_request_that_release_0_1_0_took_from_psql_fails_and_says_why(
    dsn: str, conn: Conn, body: bytes, param: str
) -> None:
    async def says_hello(request: Any) -> AsyncIterator[str]:
        yield "hello"

    odd = await engine.enqueue(conn, request=body)
    async with inside(dsn, says_hello) as server:
        error = (await server.finished(odd))["error"]
        assert error["code"] == "invalid_request" and f"'{param}'" in error["message"]
        url = f"{server.url}/responses/{odd}/input_items"
        async with server.session.get(url) as answer:
            assert answer.status == 200


async def test_a_client_that_leaves_before_its_turn_leaves_nothing_behind(
    dsn: str, conn: Conn
) -> None:
    async def says_hello(request: Any) -> AsyncIterator[str]:
        yield "hello"

    async with inside(dsn, says_hello, worker=False) as server:
        async with await psycopg.AsyncConnection.connect(dsn) as person:
            await person.execute("lock table pgdurable.responses in share mode")
            first = asyncio.create_task(server.post())

            async def enqueue_waits() -> Any:
                return await engine.value(
                    conn,
                    "select count(*) from pg_stat_activity where application_name ="
                    " 'pgdurable enqueue' and wait_event_type = 'Lock'"
                    " and datname = current_database()",
                )

            await wait_until(enqueue_waits)
            second = asyncio.create_task(server.post())
            await wait_until(lambda: server.runtime._enqueuer.waiting == 1)
            second.cancel()
            await asyncio.wait([second])
        await first
        await server.post()

    assert await engine.value(conn, "select count(*) from pgdurable.responses") == 2
