"""Defects of the seed in what a client gets: 4, 5, 13, 16, 19, 20."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson

from pgdurable.models import NewEvent
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import Conn
from tests.support.inside import frames_of, inside, text_of
from tests.support.waiting import wait_until


async def test_defect_04_starting_after_0_means_after_0_and_event_0_comes_once(dsn: str) -> None:
    """Read word by word, each by a query of its own: the worker is in another process."""
    words: asyncio.Queue[str] = asyncio.Queue()

    async def slow(request: Any) -> AsyncIterator[str]:
        while word := await words.get():
            yield word

    async with inside(dsn, slow, worker=False) as server, inside(dsn, slow):
        response_id = await server.post()
        seen: list[list[int]] = [[], [], []]

        async def tail(got: list[int], query: str) -> None:
            url = f"{server.url}/responses/{response_id}?stream=true{query}"
            async with server.session.get(url) as answer:
                async for frame in frames_of(answer):
                    if frame != b"data: [DONE]":
                        got.append(json.loads(frame.removeprefix(b"data: "))["sequence_number"])

        queries = ["", "&starting_after=0", "&starting_after=-1"]
        tails = [asyncio.create_task(tail(*each)) for each in zip(seen, queries, strict=True)]
        for last in range(1, 8):  # the first word brings its item and its part along
            await wait_until(lambda n=last: all(n in got for got in seen))  # type: ignore[misc]
            if last not in (2, 3):
                words.put_nowait("word")
        words.put_nowait("")
        await asyncio.gather(*tails)

    whole, after_0, before_0 = seen
    assert whole == before_0 == list(range(len(whole)))
    assert after_0 == whole[1:]


async def test_defect_05_a_get_ends_nothing_however_old_the_response_is(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    over = asyncio.Event()

    async def waits(request: Any) -> AsyncIterator[str]:
        yield "word"
        await over.wait()

    async with inside(dsn, waits, heartbeat_stale_threshold_seconds=86_400) as server:
        response_id = await server.post()
        clock.advance(timedelta(hours=20))  # far beyond task_timeout_seconds
        assert (await server.get(response_id))["status"] in ("queued", "in_progress")
        over.set()
        assert (await server.finished(response_id))["status"] == "completed"


async def test_defect_05_a_timeout_is_seen_by_everyone_who_reads_to_the_end(
    dsn: str, conn: Conn
) -> None:
    async def endless(request: Any) -> AsyncIterator[str]:
        yield "word"
        await asyncio.Event().wait()

    async with inside(dsn, endless, task_timeout_seconds=0.3) as server:
        response_id = await server.post()
        tails = await asyncio.gather(*[server.events(response_id) for _ in range(20)])

    for events in tails:
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "task_timeout"
    last_seq = (await engine.state(conn, response_id))["last_seq"]
    assert last_seq == tails[0][-1]["sequence_number"]


async def test_defect_13_the_id_is_known_before_the_agent_has_said_anything(dsn: str) -> None:
    async def silent(request: Any) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    async with inside(dsn, silent) as server:
        body = {"input": "hi", "background": True, "stream": True}
        async with server.session.post(f"{server.url}/responses", json=body) as answer:
            first = json.loads((await anext(frames_of(answer))).removeprefix(b"data: "))
            assert first["type"] == "response.created"
            assert first["response"]["id"] == answer.headers["x-response-id"]


async def test_defect_16_a_failed_stream_ends_with_done(dsn: str) -> None:
    async def fails(request: Any) -> AsyncIterator[str]:
        yield "word"
        raise ValueError

    async with inside(dsn, fails) as server:
        *_, last, done = await server.frames(await server.post())

    assert last.startswith(b'data: {"type":"response.failed"')
    assert done == b"data: [DONE]"


async def test_defect_19_the_error_is_the_one_it_failed_of(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    async def fails(request: Any) -> AsyncIterator[Any]:
        yield "word"
        yield object()

    held = await engine.start(conn, "dead")
    error = {"type": "error", "code": "of_the_first_attempt", "message": "no", "param": None}
    await engine.append(conn, held, NewEvent("error", None, orjson.dumps(error)))
    clock.advance(engine.PAST_LEASE)
    async with inside(dsn, fails) as server:
        await server.finished(held.response_id)
        response = await server.get(held.response_id)

    assert response["error"]["code"] == "invalid_event"


async def test_defect_20_tokens_share_their_transactions(dsn: str, conn: Conn) -> None:
    """Each event row remembers the transaction that wrote it."""
    count = 5000

    async def flood(request: Any) -> AsyncIterator[str]:
        for _ in range(count):
            yield "x "

    async with inside(dsn, flood) as server:
        response_id = await server.post()
        assert text_of(await server.finished(response_id)) == "x " * count

    transactions = await engine.value(
        conn,
        "select count(distinct xmin::text) from pgdurable.events where response_id = %s",
        response_id,
    )
    assert transactions < count / 20
