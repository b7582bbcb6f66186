"""The hub: every reader of every response in this process, fed without a query of its own.

A reader is a cursor into its response's feed. Events committed by this process are handed to the
feed as they are; events of other processes are read once per wake, one query for all feeds that
have news. A reader that has fallen out of the feed's buffer reads by cursor, so nobody waits for a
slow one. An idle reader costs no query.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from psycopg_pool import AsyncConnectionPool

from pgdurable.database import connections, queries
from pgdurable.envelope.kinds import TERMINAL
from pgdurable.events import sse
from pgdurable.logs import LogEvent, log
from pgdurable.models import Event, NewEvent

logger = logging.getLogger(__name__)

MAX_BUFFERED_EVENTS = 1024
MAX_BUFFERED_BYTES = 1024 * 1024
READ_LIMIT = 2000


class Entry:
    """A stored event in a feed; its frame is encoded once, for all readers."""

    __slots__ = ("_frame", "attempt", "body", "response_id", "seq", "type")

    def __init__(self, response_id: str, seq: int, attempt: int, type_: str, body: bytes) -> None:
        self.response_id = response_id
        self.seq = seq
        self.attempt = attempt
        self.type = type_
        self.body = body
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        if self._frame is None:
            self._frame = sse.frame(self.response_id, self.seq, self.body)
        return self._frame

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL


class Feed:
    """What is known of one response's log: its end, and the last events before it."""

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id
        self.last_seq = -1
        self.finished = False
        self.deleted = False
        self.closing = False
        self.readers = 0
        self._buffer: list[Entry] = []
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None

    def seen(self, last_seq: int, *, finished: bool) -> None:
        """A query has just seen the log end here."""
        if last_seq > self.last_seq:
            self._buffer.clear()
            self._bytes = 0
            self.last_seq = last_seq
            self.finished = finished
            self.notify()

    def extend(self, entries: Sequence[Entry]) -> None:
        """Take over what is news among these, which have contiguous numbers."""
        news = [entry for entry in entries if entry.seq > self.last_seq]
        if not news:
            return
        if news[0].seq != self.last_seq + 1:
            self._buffer.clear()  # a gap: readers before it read by cursor
            self._bytes = 0
        self._buffer += news
        self._bytes += sum(len(entry.body) for entry in news)
        self.last_seq = news[-1].seq
        self.finished = self.finished or news[-1].is_terminal
        if len(self._buffer) > 2 * MAX_BUFFERED_EVENTS or self._bytes > 2 * MAX_BUFFERED_BYTES:
            self._trim()
        self.notify()

    def _trim(self) -> None:
        kept = len(self._buffer)
        while kept and (kept > MAX_BUFFERED_EVENTS or self._bytes > MAX_BUFFERED_BYTES):
            self._bytes -= len(self._buffer[-kept].body)
            kept -= 1
        del self._buffer[: len(self._buffer) - kept]

    def after(self, cursor: int) -> list[Entry] | None:
        """The buffered events after a cursor; None where they have left the buffer."""
        if cursor >= self.last_seq:
            return []
        if not self._buffer or cursor + 1 < self._buffer[0].seq:
            return None
        return self._buffer[cursor + 1 - self._buffer[0].seq :]

    def notify(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """Until there is news; False after `timeout` seconds without."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.shield(changed)
        return changed.done()


class Hub:
    """All feeds of the process, and the one reader that keeps them up to date."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._feeds: dict[str, Feed] = {}
        self._owned: set[str] = set()
        self._stale: set[str] = set()
        self._news = asyncio.Event()
        self._closing = False

    @property
    def readers(self) -> int:
        return sum(feed.readers for feed in self._feeds.values())

    @asynccontextmanager
    async def open(self, response_id: str) -> AsyncIterator[Feed]:
        """The response's feed. Open it first, then look where the log ends, and say so (`seen`):
        what is committed between the two is not missed."""
        feed = self._feeds.get(response_id)
        if feed is None:
            feed = self._feeds[response_id] = Feed(response_id)
            feed.closing = self._closing
        feed.readers += 1
        try:
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                self._feeds.pop(response_id, None)

    async def follow(
        self, feed: Feed, cursor: int, *, keep_alive: float
    ) -> AsyncGenerator[list[Entry], None]:
        """The events after the cursor, in batches, to the terminal one or the deletion.

        An empty batch after `keep_alive` seconds without news says that the reader is still there.
        """
        while not feed.closing:
            batch = feed.after(cursor)
            if batch is None:
                batch = await self._read(feed.response_id, cursor)
                if batch == []:  # what the feed knows of is gone
                    self.deleted(feed.response_id)
                    return
            if batch is None:
                yield []  # the database is away: hold on
            elif batch:
                cursor = batch[-1].seq
                yield batch
                if batch[-1].is_terminal:
                    return
            elif (feed.finished and cursor >= feed.last_seq) or feed.deleted:
                return
            elif not await feed.wait(keep_alive):
                yield []

    async def replay(self, response_id: str, *, until: int) -> AsyncIterator[list[Entry]]:
        """The stored events up to and including number `until`, in batches."""
        cursor = -1
        while cursor < until:
            batch = await self._read(response_id, cursor)
            if batch == []:
                return
            if batch is not None:
                cursor = batch[-1].seq
                yield [entry for entry in batch if entry.seq <= until]

    async def _read(self, response_id: str, cursor: int) -> list[Entry] | None:
        """The next events from the table; None after a pause where the database is away."""
        try:
            async with self._pool.connection() as conn:
                rows = await queries.read_events(conn, {response_id: cursor}, limit=READ_LIMIT)
        except Exception as exc:
            if not connections.is_outage(exc):
                raise
            await asyncio.sleep(connections.OUTAGE_PAUSE_SECONDS)
            return None
        return [Entry(*row) for row in rows]

    def own(self, response_id: str) -> None:
        """An attempt of this process writes that log: its events come without reading."""
        self._owned.add(response_id)

    def disown(self, response_id: str) -> None:
        """It no longer does; the new writer is heard through wakes."""
        self._owned.discard(response_id)
        self.news([response_id])

    def publish(
        self, response_id: str, attempt: int, first_seq: int, events: Sequence[NewEvent]
    ) -> None:
        """These events were committed by this process just now."""
        feed = self._feeds.get(response_id)
        if feed is not None:
            feed.extend(
                [
                    Entry(response_id, seq, attempt, event.type, event.body)
                    for seq, event in enumerate(events, first_seq)
                ]
            )

    def news(self, ids: Iterable[str] | None = None) -> None:
        """These responses (None: perhaps all) may have events that no feed has yet."""
        candidates = self._feeds.keys() if ids is None else self._feeds.keys() & set(ids)
        stale = {
            id_ for id_ in candidates if id_ not in self._owned and not self._feeds[id_].finished
        }
        if stale:
            self._stale |= stale
            self._news.set()

    def deleted(self, response_id: str) -> None:
        """The response is gone: its readers end."""
        if feed := self._feeds.get(response_id):
            feed.deleted = True
            feed.notify()

    def close(self) -> None:
        """The process stops: let all readers go, so that they come back elsewhere."""
        self._closing = True
        for feed in self._feeds.values():
            feed.closing = True
            feed.notify()

    async def run(self) -> None:
        """Read what wakes announce, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            stale, self._stale = self._stale, set()
            try:
                await self._refresh(stale)
            except Exception as exc:
                if not connections.is_outage(exc):
                    log(logger, logging.ERROR, LogEvent.READ_FAILED, exc_info=exc)
                self._stale |= stale
                self._news.set()
                await asyncio.sleep(connections.OUTAGE_PAUSE_SECONDS)

    async def _refresh(self, stale: set[str]) -> None:
        cursors = {id_: feed.last_seq for id_ in stale if (feed := self._feeds.get(id_))}
        if not cursors:
            return
        async with self._pool.connection() as conn:
            rows = await queries.read_events(conn, cursors, limit=READ_LIMIT)
            silent = {id_ for id_, cursor in cursors.items() if cursor >= 0}
            silent -= {row.response_id for row in rows}
            existing = await queries.existing_responses(conn, list(silent)) if silent else set()
        for response_id, group in groupby(rows, key=_response_id):
            if feed := self._feeds.get(response_id):
                entries = [Entry(*row) for row in group]
                feed.extend(entries)
                if len(entries) == READ_LIMIT:
                    self.news([response_id])
        for response_id in silent - existing:
            self.deleted(response_id)


def _response_id(event: Event) -> str:
    return event.response_id
