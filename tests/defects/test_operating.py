"""Defects of the seed that its operators meet: 17, 18, 23, 24, 25."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from pgdurable.database import queries
from pgdurable.errors import DatabaseUnavailable, SchemaMismatch
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import Conn
from tests.support.inside import inside, text_of


async def says_hello(request: Any) -> AsyncIterator[str]:
    yield "hello"


async def test_defect_17_without_its_database_a_server_does_not_start() -> None:
    """The seed went on without one, and background responses were gone with the process."""
    nowhere = "postgresql://nobody:secret@127.0.0.1:9/nothing"
    with pytest.raises(DatabaseUnavailable) as refused:
        async with inside(nowhere, says_hello):
            pass
    assert "port 9 failed" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_defect_18_a_server_does_not_start_on_a_database_that_is_not_set_up(
    empty_dsn: str,
) -> None:
    with pytest.raises(SchemaMismatch, match="pgdurable migrate"):
        async with inside(empty_dsn, says_hello):
            pass


def principal(request: web.Request) -> str:
    return request.headers["x-user"]


async def test_defect_23_a_response_is_its_owners_alone(dsn: str) -> None:
    async with inside(dsn, says_hello, principal=principal) as server:
        alice, bob = {"X-User": "alice"}, {"X-User": "bob"}
        url = f"{server.url}/responses"
        body = {"input": "hi", "background": True}
        async with server.session.post(url, json=body, headers=alice) as answer:
            response_id = (await answer.json())["id"]
        unknown = "resp_" + "0" * 32
        for method, path in [
            ("GET", ""),
            ("GET", "?stream=true"),
            ("GET", "/input_items"),
            ("POST", "/cancel"),
            ("POST", "/retry"),
            ("DELETE", ""),
        ]:
            said = []
            for one in (response_id, unknown):
                async with server.session.request(
                    method, f"{url}/{one}{path}", headers=bob
                ) as answer:
                    said.append((answer.status, (await answer.text()).replace(one, "")))
            assert said[0] == said[1], f"{method} {path} tells them apart"
            assert said[0][0] == 404
        async with server.session.get(url, headers=bob) as listed:
            assert (await listed.json())["data"] == []
        async with server.session.get(f"{url}/{response_id}", headers=alice) as answer:
            assert answer.status == 200


async def test_defect_24_finished_responses_can_be_pruned(conn: Conn, clock: Clock) -> None:
    old = await engine.start(conn)
    await engine.finish(conn, old)
    clock.advance(timedelta(days=31))
    running = await engine.start(conn)
    recent = await engine.start(conn)
    await engine.finish(conn, recent)
    clock.advance(timedelta(days=2))

    assert await queries.prune_responses(conn, older_than=timedelta(days=30), limit=10) == 1

    left = await queries.existing_responses(
        conn, [old.response_id, running.response_id, recent.response_id]
    )
    assert left == {running.response_id, recent.response_id}
    rows = await engine.value(
        conn, "select count(*) from pgdurable.events where response_id = %s", old.response_id
    )
    assert rows == 0


async def test_defect_25_two_servers_in_one_process_do_not_meet(dsn: str) -> None:
    """Even where one of them has nothing to do, and the other more than it can take."""
    over = asyncio.Event()

    async def says_bye(request: Any) -> AsyncIterator[str]:
        await over.wait()
        yield "bye"

    async with (
        inside(dsn, says_hello, queue="hello") as hello,
        inside(dsn, says_bye, queue="bye", concurrency=1) as bye,
    ):
        waiting = [await bye.post() for _ in range(5)]
        assert text_of(await hello.finished(await hello.post())) == "hello"
        over.set()
        for response_id in waiting:
            assert text_of(await hello.finished(response_id)) == "bye"
