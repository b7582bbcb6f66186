"""Postgres goes away and comes back; connections break; single backends are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import psycopg
import pytest

from pgdurable import Context
from pgdurable.database import connections
from tests.crash.fleet import Node, Nodes
from tests.crash.invariants import Conn, Outcome, check_all
from tests.crash.postgres import Postgres
from tests.crash.recording import Recording, post, posted, text_of, words
from tests.support.inside import Inside, inside
from tests.support.inside import text_of as text_of_object
from tests.support.waiting import wait_until, wait_until_sync

Fault = Callable[[], None]
Connect = Callable[[], Awaitable[Conn]]


@pytest.fixture
async def pair(postgres: Postgres, nodes: Nodes) -> list[Node]:
    """Two processes that serve and work; leases are long enough for an outage."""
    started = [nodes.start(postgres.dsn, heartbeat_stale_threshold_seconds=4) for _ in range(2)]
    return [node.until_ready() for node in started]


@pytest.fixture
async def afterwards(postgres: Postgres) -> AsyncIterator[Connect]:
    """Connects to that server, when its faults are over."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect() -> Conn:
            connecting = psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True)
            return await stack.enter_async_context(await connecting)

        yield connect


async def run_through(
    pair: list[Node], session: aiohttp.ClientSession, afterwards: Connect, fault: Fault
) -> tuple[list[Recording], list[Outcome]]:
    """Eight responses, followed on both processes, while the fault happens in mid-stream."""
    urls = [node.url for node in pair]
    recordings = await posted(session, urls[0], 8, "text 50 0.04")
    following = [
        asyncio.create_task(r.follow(session, urls[n % 2])) for n, r in enumerate(recordings)
    ]
    await wait_until(lambda: all(len(r.frames) > 5 for r in recordings))
    await asyncio.to_thread(fault)
    await asyncio.gather(*following)
    outcomes = await check_all(await afterwards(), recordings)
    assert {text_of(found.terminal) for found in outcomes} == {words(50)}
    return recordings, outcomes


async def test_an_immediate_stop_and_a_restart_lose_nothing(
    postgres: Postgres, pair: list[Node], session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    def restart() -> None:
        postgres.stop()
        postgres.start()

    _, outcomes = await run_through(pair, session, afterwards, restart)

    assert [found.attempt for found in outcomes] == [1] * 8, "the living lost their leases"


async def test_an_outage_longer_than_the_lease_takes_nothing_from_the_living(
    postgres: Postgres, nodes: Nodes, session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    eager: dict[str, Any] = {"heartbeat_interval_seconds": 1.0, "scan_backoff_seconds": 0.1}
    pair = [nodes.start(postgres.dsn, **eager).until_ready() for _ in range(2)]

    def outage() -> None:
        postgres.stop()
        time.sleep(3)  # more than two leases
        postgres.start()

    _, outcomes = await run_through(pair, session, afterwards, outage)

    assert [found.attempt for found in outcomes] == [1] * 8


async def test_every_connection_terminated_again_and_again_loses_nothing(
    postgres: Postgres, pair: list[Node], session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    def terminate() -> None:
        ended: set[int] = set()
        for _ in range(6):
            wait_until_sync(lambda: set(postgres.backends()) - ended, what="new connections")
            ended.update(postgres.backends())
            postgres.terminate_backends()

    _, outcomes = await run_through(pair, session, afterwards, terminate)

    assert [found.attempt for found in outcomes] == [1] * 8


async def test_a_killed_backend_which_restarts_the_cluster_loses_nothing(
    postgres: Postgres, pair: list[Node], session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    def kill() -> None:
        os.kill(random.choice(postgres.backends()), signal.SIGKILL)

    _, outcomes = await run_through(pair, session, afterwards, kill)

    assert [found.attempt for found in outcomes] == [1] * 8


async def test_a_post_during_an_outage_is_refused_or_kept_and_works_again_afterwards(
    postgres: Postgres, nodes: Nodes, session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    node = nodes.start(postgres.dsn)
    url = node.url
    postgres.stop()
    body = {"input": "text 2 0", "background": True}
    async with session.post(f"{url}/responses", json=body) as refused:
        assert refused.status == 503
        assert refused.headers["retry-after"]
        assert (await refused.json())["error"]["type"] == "server_error"
    postgres.start()

    recording = Recording(await post(session, url, "text 2 0"))
    await recording.follow(session, url)

    (found,) = await check_all(await afterwards(), [recording])
    assert found.status == "completed"


async def test_an_outage_while_an_attempt_reads_its_history_is_not_its_failure(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "POOL_SECONDS", 0.3)
    begun, away = asyncio.Event(), asyncio.Event()

    async def looks_back(request: Any, context: Context) -> AsyncIterator[str]:
        begun.set()
        await away.wait()
        yield f"{len(await context.previous_events())} events"

    async with inside(postgres.dsn, looks_back, heartbeat_stale_threshold_seconds=20) as server:
        response_id = await server.post()
        await begun.wait()
        await asyncio.to_thread(postgres.stop)
        away.set()
        await wait_until(lambda: refused(server) >= 2)
        await asyncio.to_thread(postgres.start)
        response = await server.finished(response_id)

    assert (response["status"], text_of_object(response)) == ("completed", "0 events")


async def test_a_client_that_leaves_during_an_outage_cancels_its_response(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "POOL_SECONDS", 0.3)

    async def endless(request: Any) -> AsyncIterator[str]:
        while True:
            yield "again "
            await asyncio.sleep(0.05)

    async with inside(postgres.dsn, endless, heartbeat_stale_threshold_seconds=20) as server:
        body = {"input": "hi", "stream": True}
        async with server.session.post(f"{server.url}/responses", json=body) as answer:
            response_id = answer.headers["X-Response-Id"]
            await answer.content.readline()
            await asyncio.to_thread(postgres.stop)
        await wait_until(lambda: refused(server))
        await asyncio.to_thread(postgres.start)
        response = await server.finished(response_id)

    assert response["status"] == "cancelled"


async def test_an_outage_is_logged_at_its_beginning_and_at_its_end(
    postgres: Postgres, nodes: Nodes, session: aiohttp.ClientSession, afterwards: Connect
) -> None:
    node = nodes.start(postgres.dsn, heartbeat_interval_seconds=0.1)
    recording = Recording(await post(session, node.url, "text 60 0.05"))
    following = asyncio.create_task(recording.follow(session, node.url))
    await wait_until(lambda: len(recording.frames) > 5)
    await asyncio.to_thread(postgres.stop)
    # Its delay has doubled four times by then, and many beats have failed.
    await wait_until(lambda: node.output().count("flush_retried") > 4)
    await asyncio.to_thread(postgres.start)
    await following

    await check_all(await afterwards(), [recording])
    said = node.output()
    assert (said.count("renewal_failed"), said.count("renewal_recovered")) == (1, 1)


def refused(server: Inside) -> int:
    """How often its pool had no connection to give."""
    return server.runtime.pool.get_stats().get("requests_errors", 0)
