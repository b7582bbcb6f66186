"""Any interleaving of appends, takeovers and reconnects, any cursor: each reader gets its events.

The test plays the workers, so that it decides what happens when; readers come over HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdurable.database import queries
from pgdurable.database.queries import Append, Finish
from pgdurable.models import NewEvent, Status, Terminal
from tests.support.engine import claimant
from tests.support.inside import Inside, inside

EXPIRED = timedelta(0)
DONE = b"data: [DONE]\n\n"
READERS = 3

readers = st.integers(0, READERS - 1)
cursors = st.one_of(st.integers(0, 99), st.sampled_from(["absent", "now", "own", "last", "next"]))
appends = st.tuples(st.just("append"), st.integers(1, 4))
connects = st.tuples(st.just("connect"), st.tuples(readers, cursors, st.booleans()))
reads = st.tuples(st.just("read"), st.tuples(readers, st.integers(1, 4)))
steps = st.one_of(
    *[appends, connects, reads] * 3,
    st.tuples(st.just("zombie"), st.just(0)),
    st.tuples(st.sampled_from(["take_over", "release"]), st.just(0)),
    st.tuples(st.just("leave"), readers),
)


class Reader:
    """One reader: where it is, and everything it has read since its last cursor."""

    def __init__(self, http: Inside, response_id: str) -> None:
        self._http = http
        self._url = f"{http.url}/responses/{response_id}"
        self._answer: aiohttp.ClientResponse | None = None
        self._ids = False
        self.cursor = -1
        self.frames: list[bytes] = []
        self.earlier: list[tuple[int, list[bytes]]] = []

    @property
    def is_connected(self) -> bool:
        return self._answer is not None

    @property
    def at(self) -> int:
        return self.cursor + len(self.frames)

    async def connect(self, cursor: Any, last: int, header: bool) -> None:
        """Ask for what comes after `cursor`, as a query or as `Last-Event-ID`.

        A number is a place from before the first event to behind the last one.
        """
        self.leave()
        where = {
            "absent": -1,
            "now": last,
            "last": last,
            "next": last + 1,
            "own": self.at,
        }
        self.cursor = cursor % (last + 3) - 1 if isinstance(cursor, int) else where[cursor]
        query, headers = {"stream": "true"}, {}
        self._ids = header and cursor not in ("absent", "now")
        if self._ids:
            headers["Last-Event-ID"] = str(self.cursor)
        elif cursor != "absent":
            query["starting_after"] = "now" if cursor == "now" else str(self.cursor)
        self.frames = []
        self._answer = await self._http.session.get(self._url, params=query, headers=headers)
        assert self._answer.status == 200

    async def read(self, count: int | None) -> None:
        """So many frames, all of which are there; None reads on to the end."""
        while self._answer is not None and count != 0:
            async with asyncio.timeout(15):
                frame = await self._answer.content.readuntil(b"\n\n")
            if frame == DONE:
                assert await self._answer.content.read() == b"", "something after [DONE]"
                return
            if self._ids:
                id_line, _, frame = frame.partition(b"\n")
                assert id_line == b"id: %d" % (self.at + 1)
            self.frames.append(frame)
            count = None if count is None else count - 1

    def leave(self) -> None:
        """Cut the connection; what was read over it is remembered."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None
            self.earlier.append((self.cursor, self.frames))


class Story:
    """One response, the workers that write it, and its readers."""

    def __init__(self, conn: psycopg.AsyncConnection[Any], http: Inside, response_id: str) -> None:
        self._conn = conn
        self.response_id = response_id
        self._attempt = 0
        self._last = 0
        self._words = itertools.count()
        self._readers = [Reader(http, response_id) for _ in range(READERS)]

    async def play(self, plan: list[tuple[str, Any]]) -> None:
        await self.claim(queries.claim_responses)
        for step, value in plan:
            await getattr(self, step)(value)
        await self._finish()
        expected = await self._stored()
        for reader in self._readers:
            await reader.read(None)
            if reader.is_connected:
                assert reader.frames == expected[reader.cursor + 1 :]
                reader.leave()
            for cursor, frames in reader.earlier:
                assert frames == expected[cursor + 1 :][: len(frames)]

    async def claim(self, how: Any) -> None:
        (claimed,) = await how(self._conn, claimant("w", lease=EXPIRED), limit=1)
        assert claimed.response_id == self.response_id and claimed.attempt == self._attempt + 1
        self._attempt, self._last = claimed.attempt, claimed.last_seq
        await self._wake()

    async def append(self, count: int) -> None:
        events = [
            NewEvent("custom.word", None, orjson.dumps({"type": "custom.word", "n": n}))
            for n in itertools.islice(self._words, count)
        ]
        append = Append(self.response_id, self._attempt, self._last, events)
        (result,) = await queries.append_events(self._conn, [append], lease=EXPIRED)
        assert result.outcome == "ok", result
        self._last += count
        await self._wake()

    async def zombie(self, _: int) -> None:
        """What an earlier attempt still has to say is not for anybody's eyes."""
        event = NewEvent("custom.zombie", None, b'{"type":"custom.zombie"}')
        append = Append(self.response_id, self._attempt - 1, self._last, [event])
        (result,) = await queries.append_events(self._conn, [append], lease=EXPIRED)
        assert result.outcome == "lost"

    async def take_over(self, _: int) -> None:
        await self.claim(queries.take_over_responses)

    async def release(self, _: int) -> None:
        await queries.release_responses(self._conn, attempts={self.response_id: self._attempt})
        await self.claim(queries.claim_responses)

    async def connect(self, value: tuple[int, Any, bool]) -> None:
        number, cursor, header = value
        await self._readers[number].connect(cursor, self._last, header)

    async def read(self, value: tuple[int, int]) -> None:
        reader, count = self._readers[value[0]], value[1]
        await reader.read(max(0, min(count, self._last - reader.at)))

    async def leave(self, number: int) -> None:
        self._readers[number].leave()

    async def _finish(self) -> None:
        body = orjson.dumps({"type": "response.completed", "response": {"id": self.response_id}})
        terminal = Terminal(Status.COMPLETED, NewEvent("response.completed", None, body))
        finish = Finish(self.response_id, self._attempt, self._last, terminal)
        (result,) = await queries.finish_responses(self._conn, [finish])
        assert result.outcome == "ok", result
        await self._wake()

    async def _wake(self) -> None:
        await self._conn.execute(
            "select pgdurable.wake('pgdurable_tail', %s)", [[self.response_id]]
        )

    async def _stored(self) -> list[bytes]:
        """The frames of the whole log, made here from the table."""
        rows = await self._conn.execute(
            "select seq, body::text from pgdurable.events where response_id = %s order by seq",
            [self.response_id],
        )
        frames = []
        for number, (seq, body) in enumerate(await rows.fetchall()):
            assert seq == number
            end = f'"sequence_number":{seq},"response_id":"{self.response_id}"}}'
            frames.append(f"data: {body[:-1]},{end}\n\n".encode())
        return frames


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@asynccontextmanager
async def house(dsn: str) -> AsyncIterator[tuple[psycopg.AsyncConnection[Any], Inside]]:
    """A server that has no worker of its own."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn,
        inside(dsn, lambda request: None, worker=False, max_attempts=1000) as http,
    ):
        yield conn, http


def test_any_interleaving_gives_every_reader_its_events_once(
    dsn: str, runner: asyncio.Runner
) -> None:
    around = house(dsn)
    conn, http = runner.run(around.__aenter__())

    async def tell(plan: list[tuple[str, Any]]) -> None:
        await Story(conn, http, await http.post()).play(plan)

    @settings(max_examples=100)
    @given(st.lists(steps, min_size=20, max_size=40))  # shorter ones have hardly a live reader
    def check(plan: list[tuple[str, Any]]) -> None:
        runner.run(tell(plan))

    try:
        check()
    finally:
        runner.run(around.__aexit__(None, None, None))


RUBBISH = ["", " ", "x", "1.5", "1e3", "-2", "0x1", "null", "NOW", "1,2", "\0", "٣", str(2**63)]


@pytest.mark.parametrize("cursor", [*RUBBISH, "9" * 5000])
async def test_rubbish_is_no_cursor(dsn: str, cursor: str) -> None:
    async with house(dsn) as (_, http):
        url = f"{http.url}/responses/{await http.post()}"
        query = {"stream": "true", "starting_after": cursor}
        async with http.session.get(url, params=query) as answer:
            error = (await answer.json())["error"]
        assert (answer.status, error["param"]) == (400, "starting_after")
        assert error["type"] == "invalid_request_error"
        if cursor.strip() and cursor.isprintable() and cursor.isascii():
            headers = {"Last-Event-ID": cursor}
            async with http.session.get(f"{url}?stream=true", headers=headers) as answer:
                assert answer.status == 400, "in a header, too"


async def test_a_cursor_without_a_stream_is_ignored(dsn: str) -> None:
    async with house(dsn) as (_, http):
        url = f"{http.url}/responses/{await http.post()}?starting_after=rubbish"
        async with http.session.get(url) as answer:
            assert answer.status == 200
