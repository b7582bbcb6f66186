"""A foreground client that leaves at a bad moment; an answer that breaks off in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp.test_utils import TestServer

from pgdurable import Agent, LongRunningAgentServer
from pgdurable.database import queries
from pgdurable.server.view import Projection
from tests.support import engine
from tests.support.engine import Conn
from tests.support.inside import QUICK, Inside, inside
from tests.support.waiting import TIMEOUT, wait_for_row, wait_until


class Waiting:
    """A handler that never ends by itself."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle(self, request: Any) -> AsyncIterator[str]:
        self.calls += 1
        yield "one "
        await asyncio.Event().wait()


@pytest.fixture
async def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def http(dsn: str, waiting: Waiting) -> AsyncIterator[Inside]:
    async with inside(dsn, waiting.handle) as http:
        yield http


def post(url: str, session: aiohttp.ClientSession, **body: Any) -> asyncio.Task[Any]:
    async def ask() -> None:
        async with session.post(f"{url}/responses", json={"input": "hi", **body}) as answer:
            await answer.read()

    return asyncio.create_task(ask())


async def leave(asking: asyncio.Task[Any]) -> None:
    asking.cancel()
    await asyncio.wait([asking])


@pytest.mark.parametrize("store", [True, False])
async def test_an_outage_as_the_client_leaves_does_not_let_its_response_run_on(
    http: Inside, conn: Conn, waiting: Waiting, monkeypatch: pytest.MonkeyPatch, store: bool
) -> None:
    name = "cancel_response" if store else "delete_response"
    really = getattr(queries, name)
    refused: list[str] = []

    async def away_at_first(*args: Any, **options: Any) -> Any:
        if len(refused) < 2:
            refused.append(options["response_id"])
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return await really(*args, **options)

    monkeypatch.setattr(queries, name, away_at_first)
    async with aiohttp.ClientSession() as session:
        asking = post(http.url, session, stream=True, store=store)
        await wait_until(lambda: waiting.calls)
        await leave(asking)
    ended = (
        "select 1 from pgdurable.responses having count(*) filter (where status <> 'cancelled') = 0"
    )
    await wait_for_row(conn, ended)
    assert await engine.value(conn, "select count(*) from pgdurable.responses") == int(store)
    assert len(refused) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_its_response_is_stored_cancels_it(
    dsn: str, conn: Conn, waiting: Waiting, stream: bool
) -> None:
    agent = Agent()
    agent.stream(waiting.handle)
    server = TestServer(LongRunningAgentServer(agent=agent, dsn=dsn, **QUICK).app)

    def has_left() -> bool:
        assert server.runner is not None and server.runner.server is not None
        return all(one.transport is None for one in server.runner.server.connections)

    async with server, await psycopg.AsyncConnection.connect(dsn) as person:
        await person.execute("lock table pgdurable.responses in share mode")
        async with aiohttp.ClientSession() as session:
            asking = post(str(server.make_url("")).rstrip("/"), session, stream=stream)

            async def enqueue_waits() -> Any:
                return await engine.value(
                    conn,
                    "select count(*) from pg_stat_activity where application_name ="
                    " 'pgdurable enqueue' and wait_event_type = 'Lock'"
                    " and datname = current_database()",
                )

            await wait_until(enqueue_waits)
            await leave(asking)
        await wait_until(has_left)
        await person.rollback()
        await wait_for_row(conn, "select 1 from pgdurable.responses where status = 'cancelled'")


async def test_an_answer_that_breaks_off_is_not_followed_by_another(
    http: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise ValueError("a stored event that cannot be projected")

    response_id = await http.post()
    url = f"{http.url}/responses/{response_id}?stream=true&resume_marker=in_progress"
    monkeypatch.setattr(Projection, "project", broken)
    async with asyncio.timeout(TIMEOUT), http.session.get(url) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
