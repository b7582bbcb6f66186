"""One process: its connections, its rooms, and the order in which they open and close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

from psycopg_pool import AsyncConnectionPool

from pgdurable.agent import Agent
from pgdurable.config import Dsn, LongRunningSettings
from pgdurable.database import connections, queries, schema
from pgdurable.database.queries import NewResponse
from pgdurable.envelope import Transform
from pgdurable.envelope.kinds import CREATED
from pgdurable.errors import RoomFailed
from pgdurable.events.enqueuer import Enqueuer
from pgdurable.events.hub import Hub
from pgdurable.events.listener import BACKSTOP_SECONDS, Listener
from pgdurable.events.wake import Waker
from pgdurable.events.writer import Writer
from pgdurable.logs import LogEvent, log
from pgdurable.models import EnqueuedResponse, NewEvent
from pgdurable.process import slots
from pgdurable.threads import in_own_thread
from pgdurable.worker.loop import Worker, new_worker_id
from pgdurable.worker.shared import Shared

logger = logging.getLogger(__name__)

MAX_HEADERS = 10_000
Room = Callable[[], Coroutine[Any, Any, None]]


class Runtime:
    """What a server and a worker of one process share; open it with `async with`.

    `headers` holds the request headers of the latest responses that were posted to this process,
    for their handlers; they are never stored. Should one of its rooms fail, the process gets a
    SIGTERM, and leaving raises RoomFailed.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        settings: LongRunningSettings,
        agent: Agent,
        transform: Transform | None = None,
        worker: bool = True,
    ) -> None:
        self.dsn = dsn
        self.settings = settings
        self.agent = agent
        self.headers: dict[str, dict[str, str]] = {}
        self.worker: Worker | None = None
        self.pool: AsyncConnectionPool
        self.hub: Hub
        self._transform = transform
        self._with_worker = worker
        self._waker = Waker(dsn.dsn)
        self._enqueuer = Enqueuer(dsn.dsn, settings=settings, agent=agent.name)
        self._listener: Listener | None = None
        self._failure: BaseException | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Runtime]:
        """Connect, check the schema, start every room; on leaving drain the worker first.

        Raises DatabaseUnavailable, SchemaMismatch.
        """
        await self._check_schema()
        async with connections.open_pool(self.dsn.dsn, size=self.settings.pool_size) as self.pool:
            self.hub = Hub(self.pool)
            writer = Writer(
                self.dsn.dsn,
                lease=timedelta(seconds=self.settings.heartbeat_stale_threshold_seconds),
                publish=self.hub.publish,
                wake=self._waker.tail,
            )
            if self._with_worker:
                self.worker = self._make_worker(writer)
            self._listener = Listener(
                self.dsn.listen_dsn,
                on_tail=self.hub.news,
                on_work=self._on_work,
                notify=self._waker.notify,
                hold=self._hold_presence,
                on_lost=self._on_listener_lost,
            )
            tasks = [self._start(room) for room in self._rooms(writer)]
            try:
                yield self
            finally:
                for task in tasks:
                    task.remove_done_callback(self._look_why)
                if self.worker is not None:
                    await self.worker.stop()
                await connections.cancel_and_wait(*tasks)
        if self._failure is not None:
            raise RoomFailed from self._failure

    def _rooms(self, writer: Writer) -> list[Room]:
        rooms = [writer.run, self._waker.run, self._enqueuer.run, self.hub.run, self._poll]
        if self._listener is not None:
            rooms.append(self._listener.run)
        if self.worker is not None:
            rooms.append(self.worker.run)
            rooms.append(partial(slots.watch, self.worker, self.settings, self._oldest_wait))
        return rooms

    def _start(self, room: Room) -> asyncio.Task[None]:
        task = asyncio.create_task(room())
        task.add_done_callback(self._look_why)
        return task

    def _look_why(self, ended: asyncio.Task[None]) -> None:
        """A room runs until it is cancelled. Without one of them the process would take requests
        that nobody serves; it stops instead, and others take over."""
        if self._failure is not None:
            return
        # Nobody cancels a room before the process leaves; one that was is as gone as any other.
        failure = None if ended.cancelled() else ended.exception()
        self._failure = failure or RuntimeError(f"{ended.get_coro()} has ended")
        log(logger, logging.CRITICAL, LogEvent.ROOM_FAILED, exc_info=self._failure)
        os.kill(os.getpid(), signal.SIGTERM)

    def _make_worker(self, writer: Writer) -> Worker:
        shared = Shared(
            agent=self.agent,
            settings=self.settings,
            pool=self.pool,
            writer=writer,
            hub=self.hub,
            worker_id=new_worker_id(),
            headers=self.headers,
            transform=self._transform,
        )
        worker = Worker(shared, dsn=self.dsn.dsn, waker=self._waker)
        worker.listening = lambda: self.listening
        return worker

    async def _check_schema(self) -> None:
        await in_own_thread(partial(schema.check, self.dsn.dsn))

    @property
    def listening(self) -> bool:
        """Does NOTIFY reach this process?"""
        return self._listener is not None and self._listener.hearing

    async def enqueue(self, response: NewResponse, headers: dict[str, str]) -> EnqueuedResponse:
        """Make a response durable and start it: here if there is a free slot, else somewhere."""
        if self.worker is not None:
            self.headers[response.response_id] = headers
        while len(self.headers) > MAX_HEADERS:  # the oldest: other processes have claimed those
            del self.headers[next(iter(self.headers))]
        enqueued: EnqueuedResponse | None = None
        try:
            enqueued = await self._enqueuer.enqueue(response)
        finally:
            if enqueued is None or enqueued.response_id != response.response_id:
                self.headers.pop(response.response_id, None)
        if enqueued.outcome == "created":
            if self.worker is not None and self.worker.free_slots > 0:
                self.worker.on_work(None)
            else:
                self._waker.work([response.response_id])
        return enqueued

    @property
    def overloaded(self) -> bool:
        """Are so many enqueues waiting for the database that a POST had better come later?"""
        return self._enqueuer.waiting >= self.settings.max_queued

    def publish_created(self, enqueued: EnqueuedResponse) -> None:
        """Hand event 0 to readers that came before it."""
        if enqueued.event is not None:
            event = NewEvent(CREATED, None, enqueued.event)
            self.hub.publish(enqueued.response_id, 0, 0, [event])

    def announce(self, response_id: str) -> None:
        """There is a new response: look now."""
        self.hub.news([response_id])
        self._on_work(None)

    def cancelled(self, response_id: str) -> None:
        """Its cancel has been committed: an attempt of this process stops at once."""
        self.hub.news([response_id])
        if self.worker is not None:
            self.worker.stop_attempt(response_id, "cancel")

    def deleted(self, response_id: str) -> None:
        """Its deletion has been committed: readers and an attempt of this process end at once."""
        self.hub.deleted(response_id)
        if self.worker is not None:
            self.worker.stop_attempt(response_id, "lost")

    async def _hold_presence(self, conn: queries.Conn) -> bool:
        """On the connection that listens, which leads to Postgres itself: it has just heard."""
        if self.worker is None:
            return True
        return await queries.hold_presence(
            conn,
            worker_id=self.worker.worker_id,
            lease=timedelta(seconds=self.settings.heartbeat_stale_threshold_seconds),
        )

    def _on_listener_lost(self) -> None:
        if self.worker is not None:
            self.worker.beat()

    def _on_work(self, ids: list[str] | None) -> None:
        if self.worker is not None:
            self.worker.on_work(ids)

    async def _oldest_wait(self) -> timedelta | None:
        async with self.pool.connection() as conn:
            return await queries.oldest_wait(conn, queue=self.settings.queue)

    async def _poll(self) -> None:
        """The backstop of every tail: slow while LISTEN works, the way of working while not."""
        while True:
            fast = self.settings.poll_interval_seconds
            await asyncio.sleep(BACKSTOP_SECONDS if self.listening else fast)
            self.hub.news()
