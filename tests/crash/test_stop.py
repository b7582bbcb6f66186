"""SIGTERM: nothing is lost, nothing is late, and the process ends."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import aiohttp
import pytest

from tests.crash.fleet import Nodes
from tests.crash.invariants import Conn, check_all, check_finished, outcome
from tests.crash.recording import Recording, post, posted, text_of, words
from tests.crash.test_killed_worker import owner_of
from tests.support.waiting import wait_until

LONG_LEASE: dict[str, Any] = {"heartbeat_stale_threshold_seconds": 60.0}


async def test_a_stopped_worker_hands_its_responses_to_another_at_once(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    """With a lease of a minute: nobody waits for it to run out."""
    front = nodes.start(dsn, "--no-worker")
    first = nodes.start(dsn, "--no-server", **LONG_LEASE).until_ready()
    url = front.url
    recordings = await posted(session, url, 4, "text 40 0.2")
    following = [asyncio.create_task(r.follow(session, url)) for r in recordings]
    await wait_until(lambda: all(len(r.frames) > 10 for r in recordings))
    nodes.start(dsn, "--no-server", **LONG_LEASE).until_ready()

    first.send(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait) == 0
    await asyncio.gather(*following)

    outcomes = await check_all(conn, recordings)
    assert {text_of(found.terminal) for found in outcomes} == {words(40)}
    assert [(found.attempt, found.failed_attempts) for found in outcomes] == [(2, 0)] * 4
    assert [r.connections for r in recordings] == [1] * 4


async def test_a_response_that_ends_within_the_drain_time_is_not_handed_back(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    node = nodes.start(dsn, drain_timeout_seconds=20.0)
    url = node.url
    recording = Recording(await post(session, url, "text 30 0.05"))
    following = asyncio.create_task(recording.follow(session, url))
    await wait_until(lambda: len(recording.frames) > 5)
    following.cancel()

    node.send(signal.SIGTERM)
    assert await asyncio.to_thread(node.wait) == 0

    found = await check_finished(conn, recording.response_id)
    assert (found.attempt, text_of(found.terminal)) == (1, words(30))


async def test_a_second_sigterm_ends_the_process_at_once(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    node = nodes.start(dsn, drain_timeout_seconds=60.0)
    url = node.url
    response_id = await post(session, url, "text 1000 0.05")

    async def is_claimed() -> Any:
        return await owner_of(conn, response_id)

    await wait_until(is_claimed)
    node.send(signal.SIGTERM)
    await asyncio.to_thread(node.wait_for, "worker_draining")
    asked_at = time.monotonic()
    node.send(signal.SIGTERM)

    assert await asyncio.to_thread(node.wait) == 128 + signal.SIGTERM
    assert time.monotonic() - asked_at < 5
    assert (await outcome(conn, response_id)).status == "in_progress"


@pytest.mark.parametrize("handler", ["deaf", "thread 60", "block 3"])
async def test_a_handler_that_does_not_stop_cannot_keep_the_process(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn, handler: str
) -> None:
    node = nodes.start(dsn)
    url = node.url
    response_id = await post(session, url, handler)

    async def has_begun() -> Any:
        return (await outcome(conn, response_id)).last_seq > 3

    await wait_until(has_begun)
    asked_at = time.monotonic()
    node.send(signal.SIGTERM)

    assert await asyncio.to_thread(node.wait) == 0
    assert time.monotonic() - asked_at < 10
    found = await outcome(conn, response_id)
    # One that blocks the loop may go on when the loop does, and end before it is told to stop.
    assert found.status == "queued" or (handler, found.status) == ("block 3", "completed")
    assert found.failed_attempts == 0


async def test_a_process_with_a_broken_room_ends_and_another_one_goes_on(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    """A writer that has died would leave a process that takes requests and never answers."""
    front = nodes.start(dsn, "--no-worker")
    broken = nodes.start(dsn, "--no-server", broken_writer=True).until_ready()
    recording = Recording(await post(session, front.url, "text 3 0"))
    following = asyncio.create_task(recording.follow(session, front.url))

    assert await asyncio.to_thread(broken.wait) != 0
    assert "room_failed" in broken.output()
    nodes.start(dsn, "--no-server")
    await following

    (found,) = await check_all(conn, [recording])
    assert text_of(found.terminal) == words(3)


async def test_a_task_that_quits_ends_its_own_response_and_not_the_process(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    node = nodes.start(dsn)
    url = node.url
    other = Recording(await post(session, url, "text 40 0.05"))
    following = asyncio.create_task(other.follow(session, url))
    await wait_until(lambda: len(other.frames) > 5)
    quitter = await Recording(await post(session, url, "quit")).follow(session, url)
    await following

    failed, finished = await check_all(conn, [quitter, other])
    assert failed.terminal["response"]["error"]["message"] == "The agent failed with SystemExit."
    assert text_of(finished.terminal) == words(40)
    assert (failed.attempt, finished.attempt) == (1, 1)
    node.send(signal.SIGTERM)
    assert await asyncio.to_thread(node.wait) == 0
