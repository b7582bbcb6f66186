"""The listener: it hears, knows when it does not, and misses nothing in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pgdurable.database import connections, queries
from pgdurable.events import listener
from pgdurable.events.listener import Listener
from pgdurable.events.wake import Waker
from tests.support import engine
from tests.support.engine import Conn
from tests.support.waiting import wait_until

TERMINATE = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    " where application_name = %s and datname = current_database()"
)


class Heard:
    """A running listener, and what it has been told; None is `look everywhere`."""

    def __init__(self, listen_dsn: str, dsn: str) -> None:
        self.tail: list[list[str] | None] = []
        self.work: list[list[str] | None] = []
        self.waker = Waker(dsn)
        self.listener = Listener(
            listen_dsn,
            on_tail=self.tail.append,
            on_work=self.work.append,
            notify=self.waker.notify,
        )
        self._tasks = [asyncio.create_task(room()) for room in (self.waker.run, self.listener.run)]

    async def stop(self) -> None:
        await connections.cancel_and_wait(*self._tasks)


@pytest.fixture
async def heard(dsn: str) -> AsyncIterator[Heard]:
    running = Heard(dsn, dsn)
    yield running
    await running.stop()


async def test_what_happened_before_it_listened_is_looked_for(heard: Heard) -> None:
    await wait_until(lambda: heard.listener.hearing)
    assert (heard.tail, heard.work) == ([None], [None])


async def test_ids_arrive_on_their_channel(conn: Conn, heard: Heard) -> None:
    await wait_until(lambda: heard.listener.hearing)
    await queries.wake(conn, channel="pgdurable_tail", ids=["resp_1", "resp_2"])
    await queries.wake(conn, channel="pgdurable_work", ids=["resp_3"])

    await wait_until(lambda: len(heard.tail) == 2 and len(heard.work) == 2)
    assert heard.tail[1] == ["resp_1", "resp_2"]
    assert heard.work[1] == ["resp_3"]


async def test_ids_that_gather_are_sent_together_once_each(heard: Heard) -> None:
    await wait_until(lambda: heard.listener.hearing)
    heard.waker.tail(["resp_1", "resp_2"])
    heard.waker.tail(["resp_2", "resp_3"])
    await wait_until(lambda: len(heard.tail) > 1)
    assert heard.tail[1:] == [["resp_1", "resp_2", "resp_3"]]


async def test_a_function_called_in_psql_is_heard(conn: Conn, heard: Heard) -> None:
    await wait_until(lambda: heard.listener.hearing)
    response_id = await engine.value(
        conn, 'select pgdurable.enqueue_response(p_request => \'{"input":"hi"}\')'
    )
    await wait_until(lambda: [response_id] in heard.work)
    assert heard.listener.hearing


async def test_after_a_lost_connection_everything_is_looked_for_again(
    conn: Conn, heard: Heard
) -> None:
    for times in range(2, 6):
        await wait_until(lambda: heard.listener.hearing)
        assert await engine.value(conn, TERMINATE, "pgdurable listener") == 1
        await wait_until(lambda n=times: heard.tail.count(None) == n)  # type: ignore[misc]
    assert heard.work.count(None) == 5


async def test_it_does_not_take_silence_for_peace(
    conn: Conn, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection lives, and its registration is gone."""
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.3)
    await wait_until(lambda: heard.listener.hearing)
    monkeypatch.setattr(heard.listener, "_check_channel", "pgdurable_nobody_listens_here")
    await wait_until(lambda: not heard.listener.hearing)
    await wait_until(lambda: heard.listener.hearing)
    assert heard.tail == [None, None]


async def test_a_listen_dsn_of_another_database_is_no_listener(
    dsn: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(listener, "MAX_BACKOFF_SECONDS", 0.05)
    running = Heard(empty_dsn, dsn)
    await wait_until(lambda: "listener_unavailable" in caplog.text)
    assert not running.listener.hearing
    assert running.tail == []
    await running.stop()
