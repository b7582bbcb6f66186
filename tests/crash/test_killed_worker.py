"""SIGKILL of the process that works: another one goes on, and the client sees a pause."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp

from tests.crash.fleet import Node, Nodes
from tests.crash.invariants import Conn, Outcome, check_all
from tests.crash.recording import Recording, decoded, posted, text_of, words
from tests.support.waiting import wait_until

LEASE_SECONDS = 1.2
RESPONSES = 50


async def owner_of(conn: Conn, response_id: str) -> int:
    """The pid of the process that works on it; 0 where nobody does."""
    row = await (
        await conn.execute(
            "select w.pid from pgdurable.responses as r"
            " join pgdurable.workers as w on w.worker_id = r.worker_id where r.response_id = %s",
            [response_id],
        )
    ).fetchone()
    return 0 if row is None else int(row[0])


async def test_a_successor_completes_what_a_killed_worker_has_begun(
    dsn: str,
    nodes: Nodes,
    session: aiohttp.ClientSession,
    conn: Conn,
) -> None:
    front = nodes.start(dsn, "--no-worker")
    workers = [nodes.start(dsn, "--no-server").until_ready() for _ in range(2)]
    url = front.url
    recordings = await posted(session, url, 4, "text 40 0.05")
    following = [asyncio.create_task(r.follow(session, url)) for r in recordings]
    await wait_until(lambda: all(len(r.frames) > 10 for r in recordings))

    pid = await owner_of(conn, recordings[0].response_id)
    next(worker for worker in workers if worker.pid == pid).kill()
    killed_at = time.monotonic()
    await asyncio.gather(*following)

    outcomes = await check_all(conn, recordings)
    assert outcomes[0].attempt == 2
    assert {text_of(found.terminal) for found in outcomes} == {words(40)}
    assert [r.connections for r in recordings] == [1] * 4, "a client had to come back"
    resumed = [
        arrived - killed_at
        for recording in recordings
        for (_, frame), arrived in zip(recording.frames, recording.arrived, strict=True)
        if b'"response.resumed"' in frame
    ]
    print(f"from SIGKILL to the next attempt: {max(resumed):.2f} s, lease {LEASE_SECONDS} s")
    assert max(resumed) < 10 * LEASE_SECONDS  # a machine under load is no failure


async def test_a_client_that_comes_back_to_another_process_sees_everything_once(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    first, second = nodes.start(dsn), nodes.start(dsn)
    urls = [first.url, second.url]
    recordings = await posted(session, urls[0], 6, "text 40 0.05")
    following = [asyncio.create_task(r.follow(session, lambda: urls[0])) for r in recordings]
    await wait_until(lambda: all(len(r.frames) > 10 for r in recordings))

    first.kill()
    del urls[0]
    await asyncio.gather(*following)

    outcomes = await check_all(conn, recordings)
    assert [r.connections for r in recordings] == [2] * 6
    assert max(found.attempt for found in outcomes) == 2
    assert {text_of(found.terminal) for found in outcomes} == {words(40)}


async def test_readers_of_an_agent_that_restarts_do_not_see_the_kill(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    front = nodes.start(dsn, "--no-worker", recovery="restart")
    workers = [nodes.start(dsn, "--no-server", recovery="restart").until_ready() for _ in range(2)]
    url = front.url
    (stays,) = await posted(session, url, 1, "text 40 0.05")
    following = asyncio.create_task(stays.follow(session, url))
    await wait_until(lambda: len(stays.frames) > 10)

    pid = await owner_of(conn, stays.response_id)
    next(worker for worker in workers if worker.pid == pid).kill()
    left = Recording(stays.response_id)
    left.frames = stays.frames[:8]
    await asyncio.gather(following, left.follow(session, url))

    (outcome,) = await check_all(conn, [stays])
    assert (outcome.attempt, outcome.status) == (2, "completed")
    assert text_of(outcome.terminal) == words(40)
    assert (stays.connections, left.frames) == (1, stays.frames)
    seen = [decoded(frame) for _, frame in stays.frames]
    assert [event["delta"] for event in seen if "delta" in event] == [f"w{n} " for n in range(40)]
    assert not stays.seen("response.resumed")
    assert len({event["item_id"] for event in seen if "item_id" in event}) == 1


async def test_50_responses_end_once_each_while_a_worker_dies_every_two_seconds(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    outcomes = await kill_workers(dsn, nodes, session, conn, responses=RESPONSES, kills=3)
    assert len(outcomes) == RESPONSES


async def kill_workers(
    dsn: str,
    nodes: Nodes,
    session: aiohttp.ClientSession,
    conn: Conn,
    *,
    responses: int,
    kills: int,
    seed: int | None = None,
) -> list[Outcome]:
    """The storm, also for the soak: prints its seed, and returns how each has ended."""
    seed = random.randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)

    def worker() -> Node:
        return nodes.start(dsn, "--no-server", "--concurrency", "6", max_attempts=1000)

    front = nodes.start(dsn, "--no-worker", max_attempts=1000)
    workers = [worker() for _ in range(3)]
    url = front.url
    recordings = await posted(session, url, responses, "text 30 0.05")
    following = [asyncio.create_task(r.follow(session, url)) for r in recordings]
    for _ in range(kills):
        await asyncio.sleep(2)
        killed = choose.randrange(len(workers))
        workers[killed].kill()
        workers[killed] = worker()
    await asyncio.gather(*following)

    outcomes = await check_all(conn, recordings)
    assert {found.status for found in outcomes} == {"completed"}
    assert {text_of(found.terminal) for found in outcomes} == {words(30)}
    return outcomes
