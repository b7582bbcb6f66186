"""Group commit: one writer for every attempt of the process.

What arrives while a flush is in flight goes into the next one. One flush is one transaction: an
append for every response that has news, a finish for every one that ends. The expected last_seq
travels along, so a flush whose commit has an unknown end is simply sent again. A response whose row
somebody holds in an open transaction leaves the queue until they let go, so that the others do not
wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import psycopg

from pgdurable.database import connections, queries
from pgdurable.database.connections import LOCK_TIMEOUT
from pgdurable.database.queries import Append, Finish
from pgdurable.errors import LeaseLost
from pgdurable.logs import LogEvent, log
from pgdurable.models import NewEvent, Terminal

logger = logging.getLogger(__name__)

MAX_BUFFERED_EVENTS = 2048
MAX_BUFFERED_BYTES = 8 * 1024 * 1024
# Postgres takes 1 GB in one message, and responses may end with many megabytes together.
MAX_FLUSH_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_BYTES = 768 * 1024 * 1024
MAX_BACKOFF_SECONDS = 2.0
HELD_PAUSE_SECONDS = 0.02

Stop = Literal["lost", "cancel"]
Publish = Callable[[str, int, int, Sequence[NewEvent]], None]


class Log:
    """One attempt's end of its response's log: append now, durable soon.

    `last_seq` counts what has been handed in. `held` while somebody else's transaction keeps the
    response's row. `on_stop` is called once the database says that the lease is lost or that the
    client wants to cancel.
    """

    def __init__(
        self,
        writer: Writer,
        response_id: str,
        attempt: int,
        last_seq: int,
        on_stop: Callable[[Stop], None],
    ) -> None:
        self.response_id = response_id
        self.attempt = attempt
        self.last_seq = last_seq
        self.lost = False
        self.held = False
        self.on_stop = on_stop
        self._writer = writer
        self._pending: list[NewEvent] = []
        self._terminal: Terminal | None = None
        self._queued = False
        self._in_flight = False
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def key(self) -> tuple[str, int]:
        return self.response_id, self.attempt

    @property
    def named(self) -> dict[str, Any]:
        return {"response_id": self.response_id, "attempt": self.attempt}

    def append(self, events: Sequence[NewEvent]) -> None:
        """Hand events to the next flush; raises LeaseLost once another attempt has taken over."""
        if self.lost:
            raise LeaseLost
        if not events:
            return
        self._pending.extend(events)
        self.last_seq += len(events)
        self._enqueue(events)

    async def finish(self, terminal: Terminal) -> bool:
        """End the response; False if it was not ours to end any more."""
        if self.lost:
            return False
        self._terminal = terminal
        self.last_seq += 1
        self._enqueue((terminal.event,))
        await self.flushed()
        return not self.lost

    async def flushed(self) -> None:
        """Until everything handed in so far is durable, or refused."""
        while self._queued or self._in_flight:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def _enqueue(self, events: Sequence[NewEvent]) -> None:
        self._writer.buffered_events += len(events)
        self._writer.buffered_bytes += sum([len(event.body) for event in events])
        if not self.held:
            self._queue()

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._writer.add(self)

    def take(self) -> _Share | None:
        """What the flush that starts now writes for this log; nothing while its row is held."""
        if self.held:
            self._queued = False  # what is held comes first; `conclude` queues the rest
            return None
        events, self._pending = self._pending, []
        terminal, self._terminal = self._terminal, None
        self._queued = False
        self._in_flight = True
        last_seq = self.last_seq - len(events) - (terminal is not None)
        return _Share(self, last_seq, events, terminal)

    def conclude(self, outcome: str) -> None:
        """The flush is over."""
        self._in_flight = self.held = False
        if outcome == "lost":
            self.lost = True
            self._pending.clear()
            self._terminal = None
        elif self._pending or self._terminal is not None:
            self._queue()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if outcome in ("lost", "cancel"):
            self.on_stop("lost" if outcome == "lost" else "cancel")


class _Share(NamedTuple):
    """What one log has for one flush."""

    log: Log
    last_seq: int
    events: list[NewEvent]
    terminal: Terminal | None

    @property
    def written(self) -> Sequence[NewEvent]:
        return self.events if self.terminal is None else [*self.events, self.terminal.event]

    @property
    def bytes(self) -> int:
        return sum([len(event.body) for event in self.written])


def _flushes(batch: list[_Share]) -> Iterator[list[_Share]]:
    """The batch in flushes of no more than MAX_FLUSH_BYTES, or of one share."""
    part: list[_Share] = []
    size = 0
    for share in batch:
        size += share.bytes
        if part and size > MAX_FLUSH_BYTES:
            yield part
            part, size = [], share.bytes
        part.append(share)
    yield part


class Writer:
    """The one queue and the one connection that all logs of the process are written through.

    `publish(response_id, attempt, first_seq, events)` gets what has just been committed, `wake`
    the ids that have news; both are called after the commit, never before.
    """

    def __init__(
        self,
        dsn: str,
        *,
        lease: timedelta,
        publish: Publish,
        wake: Callable[[Iterable[str]], None],
    ) -> None:
        self._lease = lease
        self._publish = publish
        self._wake = wake
        self._conn = connections.OwnConnection(dsn, name="pgdurable writer")
        self._logs: list[Log] = []
        self._held: deque[_Share] = deque()
        self._held_conn = connections.OwnConnection(dsn, name="pgdurable held rows")
        self._news = asyncio.Event()
        self._held_news = asyncio.Event()
        self._room = asyncio.Event()
        self.buffered_events = 0
        self.buffered_bytes = 0

    @property
    def full(self) -> bool:
        """Has a handler been faster than the disk for long enough to be made to wait?"""
        return (
            self.buffered_events >= MAX_BUFFERED_EVENTS or self.buffered_bytes >= MAX_BUFFERED_BYTES
        )

    def add(self, log_: Log) -> None:
        """This log has something for the next flush."""
        self._logs.append(log_)
        self._news.set()

    async def room(self) -> None:
        """Until the buffer has room again."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Flush until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._flush_news())
                group.create_task(self._flush_held())
        finally:
            await self._conn.close()
            await self._held_conn.close()

    async def _flush_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            logs, self._logs = self._logs, []
            batch = [share for log_ in logs if (share := log_.take()) is not None]
            self.buffered_events = self.buffered_bytes = 0
            self._room.set()
            for part in _flushes(batch):
                await self._flush(part)

    async def _flush(self, batch: list[_Share], *, again: bool = True) -> None:
        delay = 0.05
        while batch:
            try:
                outcomes = await self._write(self._conn, batch)
            except Exception as exc:
                if not connections.is_outage(exc):
                    await self._flush_singly(batch, exc, again=again)
                    return
                if isinstance(exc, psycopg.errors.LockNotAvailable):
                    batch = await self._without_held(batch, exc)
                log(logger, logging.WARNING, LogEvent.FLUSH_RETRIED, reason=exc, seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)
            else:
                self._conclude(batch, outcomes)
                return

    async def _flush_singly(self, batch: list[_Share], exc: Exception, *, again: bool) -> None:
        """Something in the batch is unacceptable to the database: find it, spare the others."""
        # XX000: a migration has replaced the function under the call. The next one finds the new.
        if len(batch) > 1 or (again and isinstance(exc, psycopg.errors.InternalError_)):
            for share in batch:
                await self._flush([share], again=False)
        else:
            await self._refuse(self._conn, batch[0], exc)

    async def _without_held(self, batch: list[_Share], exc: Exception) -> list[_Share]:
        """What is left of the batch without the responses that are held."""
        attempts = [share.log.key for share in batch]
        try:
            held = await queries.held_responses(
                await self._conn.get(), attempts=attempts, lease=self._lease
            )
        except Exception:
            return batch  # the next flush meets the same, and decides
        for share in batch:
            if share.log.response_id in held:
                log(logger, logging.WARNING, LogEvent.RESPONSE_HELD, **share.log.named, reason=exc)
                share.log.held = True
                self._held.append(share)
                self._held_news.set()
        return [share for share in batch if not share.log.held]

    async def _refuse(self, conn: connections.OwnConnection, share: _Share, exc: Exception) -> None:
        """The next attempt would meet the same: the response ends here, by SQL, because what the
        attempt believes to be in its log is not. Where even that fails, its lease runs out."""
        named = share.log.named
        log(logger, logging.ERROR, LogEvent.FLUSH_FAILED, **named, reason=exc)
        try:
            await queries.fail_response(await conn.get(), **named, lock_timeout=LOCK_TIMEOUT)
        except Exception as failure:
            log(logger, logging.ERROR, LogEvent.FLUSH_FAILED, **named, reason=failure)
        else:
            self._wake([share.log.response_id])
        self._conclude([share], ["lost"])

    async def _flush_held(self) -> None:
        """The held responses, in turn, until each is let go."""
        while True:
            await self._held_news.wait()
            self._held_news.clear()
            while self._held:
                share = self._held[0]
                try:
                    outcomes = await self._write(self._held_conn, [share])
                except Exception as exc:
                    self._held.rotate(-1)
                    if connections.is_outage(exc):  # the lock among others
                        await asyncio.sleep(HELD_PAUSE_SECONDS)
                    else:
                        self._held.remove(share)
                        await self._refuse(self._held_conn, share, exc)
                else:
                    self._held.popleft()
                    self._conclude([share], outcomes)

    async def _write(self, conn: connections.OwnConnection, batch: list[_Share]) -> list[str]:
        if len(batch) == 1 and batch[0].bytes > MAX_MESSAGE_BYTES:
            raise psycopg.errors.ProgramLimitExceeded(f"{batch[0].bytes} bytes at once")
        appends = [Append(*share.log.key, share.last_seq, share.events) for share in batch]
        finishes = [
            Finish(*share.log.key, share.last_seq + len(share.events), share.terminal)
            for share in batch
            if share.terminal is not None
        ]
        appended, finished = await queries.append_and_finish(
            await conn.get(), appends, finishes, lease=self._lease, lock_timeout=LOCK_TIMEOUT
        )
        ends = iter(finished)  # a repeated flush finds what it has finished before: they decide
        return [
            (result if share.terminal is None else next(ends)).outcome
            for share, result in zip(batch, appended, strict=True)
        ]

    def _conclude(self, batch: list[_Share], outcomes: Sequence[str]) -> None:
        news: list[str] = []
        for share, outcome in zip(batch, outcomes, strict=True):
            if outcome != "lost" and (written := share.written):
                response_id = share.log.response_id
                self._publish(response_id, share.log.attempt, share.last_seq + 1, written)
                news.append(response_id)
            share.log.conclude(outcome)
        if news:
            self._wake(news)
