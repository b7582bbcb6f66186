"""Handlers that block, hang, swallow, flood and quit: each harms its own response at the most."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pgdurable import Context
from pgdurable.database import queries
from pgdurable.errors import PgdurableError
from pgdurable.events import writer
from pgdurable.events.writer import MAX_BUFFERED_EVENTS
from tests.crash.invariants import Conn, check_finished, outcome
from tests.support.inside import inside, text_of
from tests.support.waiting import wait_until

LEASE_SECONDS = 1.0


@contextmanager
def thief(dsn: str) -> Iterator[None]:
    """Takes over whatever has lost its lease, from a thread that no handler can block."""
    over = threading.Event()
    stolen: list[object] = []

    def steal() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            while not over.wait(0.05):
                stolen.extend(
                    conn.execute(
                        "select response_id from pgdurable.take_over_responses("
                        "'thief', array['default'], 10, interval '10 s', array['agent'])"
                    ).fetchall()
                )

    thread = threading.Thread(target=steal)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert stolen == []


async def blocks_the_loop(request: Any) -> AsyncIterator[str]:
    yield "before "
    await asyncio.sleep(0.1)
    time.sleep(2 * LEASE_SECONDS)
    yield "after"


def blocks_its_thread(request: Any) -> Iterator[str]:
    yield "before "
    time.sleep(2 * LEASE_SECONDS)
    yield "after"


@pytest.mark.parametrize("handler", [blocks_the_loop, blocks_its_thread])
async def test_a_handler_that_blocks_for_longer_than_the_lease_keeps_it(
    dsn: str, conn: Conn, handler: Callable[..., Any]
) -> None:
    async with inside(dsn, handler) as server:
        with thief(dsn):
            response_id = await server.post()
            response = await server.finished(response_id)

    assert text_of(response) == "before after"
    assert (await check_finished(conn, response_id)).attempt == 1


async def test_a_handler_that_swallows_its_cancellation_gives_its_slot_back(
    dsn: str, conn: Conn
) -> None:
    over = asyncio.Event()

    async def stubborn(request: Any) -> AsyncIterator[str]:
        yield "begun "
        if str(request.input[-1].content) == "stay":
            while not over.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await over.wait()
            yield "too late"

    async with inside(dsn, stubborn, concurrency=1) as server:
        stuck = await server.post("stay")
        await wait_until(lambda: server.runtime.worker and not server.runtime.worker.free_slots)
        async with server.session.post(f"{server.url}/responses/{stuck}/cancel") as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"
        assert (await server.finished(await server.post("go")))["status"] == "completed"
        over.set()

    assert text_of((await check_finished(conn, stuck)).terminal["response"]) == "begun "


async def test_what_a_handler_says_after_its_cancellation_is_not_stored(
    dsn: str, conn: Conn
) -> None:
    async def argues(request: Any) -> AsyncIterator[str]:
        yield "begun "
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "too late"

    async with inside(dsn, argues) as server:
        response_id = await server.post()

        async def has_begun() -> Any:
            return (await outcome(conn, response_id)).last_seq > 3

        await wait_until(has_begun)
        async with server.session.post(f"{server.url}/responses/{response_id}/cancel") as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"

    assert text_of((await check_finished(conn, response_id)).terminal["response"]) == "begun "


async def test_a_handler_that_never_ends_is_ended(dsn: str, conn: Conn) -> None:
    async def endless(request: Any) -> AsyncIterator[str]:
        while True:
            yield "again "
            await asyncio.sleep(0.05)

    async with inside(dsn, endless, task_timeout_seconds=0.5) as server:
        response_id = await server.post()
        response = await server.finished(response_id)

    assert (response["status"], response["error"]["code"]) == ("failed", "task_timeout")
    assert (await check_finished(conn, response_id)).attempt == 1


RUBBISH = {
    "an object": object(),
    "a number": 42,
    "no type": {"delta": "x"},
    "two lines of type": {"type": "response.custom\nresponse.other"},
    "a NUL in the type": {"type": "response.\0"},
    "half a character": "\ud800",
    "not a number": {"type": "response.custom", "value": float("nan")},
    "bytes": b"bytes",
    "deep": {"type": "response.custom", "value": eval("[" * 80 + "]" * 80)},
    "huge": {"type": "response.custom", "value": "x" * (2 << 20)},
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_a_handler_that_yields_rubbish_fails_once(dsn: str, conn: Conn, name: str) -> None:
    calls = []

    async def rubbish(request: Any) -> AsyncIterator[Any]:
        calls.append(name)
        yield "so far "
        yield RUBBISH[name]

    async with inside(dsn, rubbish) as server:
        response_id = await server.post()
        response = await server.finished(response_id)

    assert (response["status"], response["error"]["code"]) == ("failed", "invalid_event")
    assert text_of(response) == "so far "
    assert len(calls) == 1
    assert (await check_finished(conn, response_id)).attempt == 1


async def test_a_handler_in_a_thread_is_told_that_nobody_takes_its_words_any_more(
    dsn: str, conn: Conn
) -> None:
    told = threading.Event()

    def rubbish(request: Any, context: Context) -> Iterator[Any]:
        yield object()
        while not context.cancel_requested:
            time.sleep(0.01)
        told.set()

    async with inside(dsn, rubbish) as server:
        assert (await server.finished(await server.post()))["status"] == "failed"
        await wait_until(told.is_set)


async def quits(request: Any) -> AsyncIterator[str]:
    yield "so far "
    sys.exit(3)


def quits_in_its_thread(request: Any) -> Iterator[str]:
    yield "so far "
    sys.exit(3)


async def interrupts(request: Any) -> AsyncIterator[str]:
    yield "so far "
    raise KeyboardInterrupt


async def cancels_itself(request: Any) -> AsyncIterator[str]:
    yield "so far "
    raise asyncio.CancelledError


async def fails(request: Any) -> AsyncIterator[str]:
    yield "so far "
    raise ValueError("a secret")


async def fails_at_once(request: Any) -> AsyncIterator[str]:
    raise ValueError("a secret")
    yield "never"


async def fails_with_ours(request: Any) -> AsyncIterator[str]:
    raise PgdurableError("a secret")
    yield "never"


@pytest.mark.parametrize(
    ("handler", "raised"),
    [
        (quits, "SystemExit"),
        (quits_in_its_thread, "SystemExit"),
        (interrupts, "KeyboardInterrupt"),
        (cancels_itself, "CancelledError"),
        (fails, "ValueError"),
        (fails_at_once, "ValueError"),
        (fails_with_ours, "PgdurableError"),
    ],
)
async def test_a_handler_that_raises_anything_fails_its_response_only(
    dsn: str, conn: Conn, handler: Callable[..., Any], raised: str
) -> None:
    calls = []

    def called(request: Any) -> Any:
        calls.append(str(request.input[-1].content))
        return handler(request) if calls[-1] == "raise" else ["fine"]

    async with inside(dsn, called) as server:
        response_id = await server.post("raise")
        response = await server.finished(response_id)
        assert (await server.finished(await server.post("fine")))["status"] == "completed"

    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert response["error"]["message"] == f"The agent failed with {raised}."
    assert calls == ["raise", "fine"]
    assert (await check_finished(conn, response_id)).attempt == 1


@pytest.mark.parametrize("words", ["forbidden", "for bidden"])
async def test_what_the_database_refuses_fails_its_own_response_at_once(
    dsn: str, conn: Conn, words: str
) -> None:
    """In the middle, or where the pieces first come together: at the end."""
    calls = []

    async def says(request: Any) -> AsyncIterator[str]:
        calls.append(str(request.input[-1].content))
        for word in calls[-1].split():
            yield word

    async with inside(dsn, says) as server:
        await conn.execute(
            "alter table pgdurable.events"
            " add constraint decent check (body::text not like '%forbidden%') not valid"
        )
        ids = [await server.post(f"so-far- {what}") for what in (words, "fine", "fine")]
        refused, *others = [await server.finished(response_id) for response_id in ids]

    assert (refused["status"], refused["error"]["code"]) == ("failed", "storage_refused")
    assert [text_of(response) for response in others] == ["so-far-fine"] * 2
    assert len(calls) == 3
    assert (await check_finished(conn, ids[0], by_sql=True)).attempt == 1


async def test_what_is_too_long_for_one_message_fails_its_own_response_at_once(
    dsn: str, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_FLUSH_BYTES", 10_000)
    monkeypatch.setattr(writer, "MAX_MESSAGE_BYTES", 100_000)

    async def repeats(request: Any) -> AsyncIterator[str]:
        yield "x" * int(str(request.input[-1].content))

    async with inside(dsn, repeats) as server:
        ids = [await server.post(f"{count}") for count in (50_000, 10)]
        refused, other = [await server.finished(response_id) for response_id in ids]

    assert (refused["status"], refused["error"]["code"]) == ("failed", "storage_refused")
    assert text_of(other) == "x" * 10
    assert (await check_finished(conn, ids[0], by_sql=True)).attempt == 1


async def test_responses_that_end_together_are_not_stored_in_one_huge_message(
    dsn: str, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_FLUSH_BYTES", 250_000)
    sizes: list[list[int]] = []
    append_and_finish = queries.append_and_finish

    async def recorded(conn: Any, appends: Any, finishes: Any, **how: Any) -> Any:
        sizes.append([sum(len(event.body) for event in append.events) for append in appends])
        return await append_and_finish(conn, appends, finishes, **how)

    monkeypatch.setattr(queries, "append_and_finish", recorded)
    together = asyncio.Barrier(8)

    async def repeats(request: Any) -> AsyncIterator[str]:
        await together.wait()
        yield "x" * 20_000

    async with inside(dsn, repeats) as server:
        ids = [await server.post() for _ in range(8)]
        responses = [await server.finished(response_id) for response_id in ids]

    assert [text_of(response) for response in responses] == ["x" * 20_000] * 8
    assert all(sum(batch) <= 250_000 for batch in sizes)
    assert max(map(len, sizes)) > 1


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_a_handler_that_is_faster_than_the_database_is_made_to_wait(
    dsn: str, conn: Conn, caplog: pytest.LogCaptureFixture, in_a_thread: bool
) -> None:
    yielded = 0
    begun, locked = asyncio.Event(), threading.Event()

    def words() -> Iterator[str]:
        nonlocal yielded
        while yielded < 20_000:
            yielded += 1
            yield "x "

    async def flood(request: Any) -> AsyncIterator[str]:
        begun.set()
        await asyncio.to_thread(locked.wait)
        for word in words():
            yield word

    async def flood_from_a_thread(request: Any) -> Iterator[str]:
        begun.set()
        await asyncio.to_thread(locked.wait)
        return words()

    async with inside(dsn, flood_from_a_thread if in_a_thread else flood) as server:
        response_id = await server.post()
        await begun.wait()
        async with await psycopg.AsyncConnection.connect(dsn) as person:
            # Nothing can be appended until this is over.
            await person.execute("lock table pgdurable.events in share mode")
            locked.set()
            await wait_until(lambda: "flush_retried" in caplog.text)
            ahead = yielded
            for _ in range(1000):  # turns enough for the rest, if nothing held it
                await asyncio.sleep(0)
            assert yielded == ahead < 3 * MAX_BUFFERED_EVENTS
        response = await server.finished(response_id)

    assert text_of(response) == "x " * 20_000
    await check_finished(conn, response_id)


async def test_one_megabyte_in_one_piece_arrives_in_small_ones(dsn: str, conn: Conn) -> None:
    async def huge(request: Any) -> AsyncIterator[str]:
        for letter in "xyz":
            yield letter * (1 << 20)

    async with inside(dsn, huge) as server:
        response_id = await server.post()
        response = await server.finished(response_id)

    assert text_of(response) == "".join(letter * (1 << 20) for letter in "xyz")
    found = await check_finished(conn, response_id)
    deltas = [row for row in found.log if row.type == "response.output_text.delta"]
    assert max(len(row.event["delta"]) for row in deltas) <= 32 << 10


async def test_a_nul_character_is_kept(dsn: str, conn: Conn) -> None:
    async def nul(request: Any) -> AsyncIterator[str]:
        yield "a\0b"

    async with inside(dsn, nul) as server:
        response_id = await server.post("what\0ever", metadata={"key": "a\0b"})
        assert text_of(await server.finished(response_id)) == "a\0b"
        assert (await server.get(response_id))["metadata"] == {"key": "a\0b"}

    assert (await check_finished(conn, response_id)).status == "completed"
