"""One request that kills its process: it fails, and nobody else does."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import aiohttp
import pytest

from tests.crash.fleet import Node, Nodes
from tests.crash.invariants import Conn, check_finished
from tests.crash.recording import post, posted, text_of, words
from tests.support.waiting import wait_until

NEIGHBOURS = 8
LONG_LEASE: dict[str, Any] = {
    "heartbeat_stale_threshold_seconds": 30.0,
    "heartbeat_interval_seconds": 5.0,
}


async def restarted(dsn: str, nodes: Nodes, workers: list[Node], over: asyncio.Event) -> int:
    """Start a new process for each that has died, as a supervisor does; how many have."""
    deaths = 0
    while not over.is_set():
        for number, worker in enumerate(workers):
            if worker.returncode is not None:
                deaths += 1
                workers[number] = nodes.start(dsn, "--no-server")
        await asyncio.sleep(0.05)
    return deaths


@pytest.mark.parametrize("processes", [1, 3])
async def test_a_request_that_kills_its_process_fails_and_its_neighbours_do_not(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn, processes: int
) -> None:
    front = nodes.start(dsn, "--no-worker")
    workers = [nodes.start(dsn, "--no-server").until_ready() for _ in range(processes)]
    neighbours = [
        r.response_id for r in await posted(session, front.url, NEIGHBOURS, "text 30 0.05")
    ]
    poison = await post(session, front.url, "die 0.2")
    over = asyncio.Event()
    supervisor = asyncio.create_task(restarted(dsn, nodes, workers, over))

    async def all_ended() -> Any:
        row = await (
            await conn.execute(
                "select count(*) from pgdurable.responses where finished_at is not null"
            )
        ).fetchone()
        return row is not None and row[0] == NEIGHBOURS + 1

    await wait_until(all_ended, timeout=90)
    over.set()
    deaths = await supervisor

    assert (await check_finished(conn, poison, by_sql=True)).terminal["response"][
        "status"
    ] == "failed"
    for response_id in neighbours:
        found = await check_finished(conn, response_id)
        assert (text_of(found.terminal), found.failed_attempts) == (words(30), 0)
    assert deaths <= math.log2(NEIGHBOURS + 1) + 3 + 3


async def test_a_death_is_known_long_before_the_lease_has_run_out(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    front = nodes.start(dsn, "--no-worker")
    first = nodes.start(dsn, "--no-server", **LONG_LEASE).until_ready()
    first.wait_for("listener_connected")
    (recording,) = await posted(session, front.url, 1, "text 60 0.05")
    following = asyncio.create_task(recording.follow(session, front.url))
    await wait_until(lambda: len(recording.frames) > 5)
    second = nodes.start(dsn, "--no-server", **LONG_LEASE).until_ready()
    second.wait_for("listener_connected")
    first.kill()
    killed_at = time.monotonic()
    await wait_until(lambda: recording.seen("response.resumed"))
    took = time.monotonic() - killed_at
    print(f"from SIGKILL to the next attempt: {took:.2f} s, lease 30 s")
    await following
    assert took < 15
    assert (await check_finished(conn, recording.response_id)).attempt == 2


async def test_a_process_that_has_lost_its_listener_lives(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    front = nodes.start(dsn, "--no-worker")
    workers = [nodes.start(dsn, "--no-server", **LONG_LEASE).until_ready() for _ in range(2)]
    for worker in workers:
        worker.wait_for("listener_connected")
    recordings = await posted(session, front.url, 4, "text 60 0.05")
    following = [asyncio.create_task(r.follow(session, front.url)) for r in recordings]
    for _ in range(5):
        await conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'pgdurable listener' and datname = current_database()"
        )
        await asyncio.sleep(0.4)
    await asyncio.gather(*following)
    for recording in recordings:
        assert (await check_finished(conn, recording.response_id)).attempt == 1
