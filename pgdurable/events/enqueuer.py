"""Concurrent POSTs share one enqueue: what arrives during a flush goes into the next one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from pgdurable import errors
from pgdurable.config import LongRunningSettings
from pgdurable.database import connections, queries
from pgdurable.database.queries import NewResponse
from pgdurable.models import EnqueuedResponse

MAX_BATCH = 500
# A POST is tried again for this long when the connection breaks; the ids make that harmless.
RETRY_DELAYS_SECONDS = (0.05, 0.2, 0.5)


class _Waiting(NamedTuple):
    response: NewResponse
    future: asyncio.Future[EnqueuedResponse]


class Enqueuer:
    """The one queue and the one connection that all POSTs of the process are enqueued through."""

    def __init__(self, dsn: str, *, settings: LongRunningSettings, agent: str) -> None:
        self._conn = connections.OwnConnection(dsn, name="pgdurable enqueue")
        self._settings = settings
        self._agent = agent
        self._waiting: list[_Waiting] = []
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def enqueue(self, response: NewResponse) -> EnqueuedResponse:
        """The response, durable; raises IdempotencyConflict, DatabaseUnavailable.

        Being cancelled has no effect once it is being stored: only who learns that it is stored
        can see to it that it does not run for nobody.
        """
        waiting = _Waiting(response, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._news.set()
        try:
            enqueued = await asyncio.shield(waiting.future)
        except asyncio.CancelledError:
            if waiting in self._waiting:
                waiting.future.cancel()
                raise
            enqueued = await waiting.future
        if enqueued.outcome == "conflict":
            raise errors.IdempotencyConflict(
                f"Idempotency key '{response.idempotency_key}' was used before"
                " with another request."
            )
        return enqueued

    async def run(self) -> None:
        """Flush until cancelled."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                    # A client that has left before its turn leaves nothing behind.
                    batch = [waiting for waiting in batch if not waiting.future.done()]
                    if batch:
                        await self._flush(batch)
        finally:
            await self._conn.close()

    async def _flush(self, batch: list[_Waiting]) -> None:
        try:
            results = await self._enqueue([waiting.response for waiting in batch])
        except Exception as exc:
            if len(batch) > 1 and not connections.is_outage(exc):
                for waiting in batch:  # one of them is unacceptable: spare the others
                    await self._flush([waiting])
                return
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(exc)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)

    async def _enqueue(self, responses: list[NewResponse]) -> list[EnqueuedResponse]:
        deadline = self._settings.deadline_seconds
        for delay in (*RETRY_DELAYS_SECONDS, None):
            try:
                return await queries.enqueue_responses(
                    await self._conn.get(),
                    responses,
                    queue=self._settings.queue,
                    agent=self._agent,
                    max_attempts=self._settings.max_attempts,
                    deadline=None if deadline is None else timedelta(seconds=deadline),
                )
            except Exception as exc:
                if delay is None or not connections.is_outage(exc):
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("unreachable")
