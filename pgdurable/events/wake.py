"""The wake: coalesced NOTIFY, off the write path, lost without harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import psycopg

from pgdurable import errors
from pgdurable.database import connections, queries
from pgdurable.logs import LogEvent, log

logger = logging.getLogger(__name__)

TAIL = "pgdurable_tail"
WORK = "pgdurable_work"
# A notifying commit takes one lock of the whole instance: at most a hundred a second per process.
PAUSE_SECONDS = 0.01


class Waker:
    """Sends the ids that have news: the first at once, then what gathered, every 10 ms."""

    def __init__(self, dsn: str) -> None:
        self._ids: dict[str, dict[str, None]] = {TAIL: {}, WORK: {}}
        self._news = asyncio.Event()
        self._conn = connections.OwnConnection(dsn, name="pgdurable wake")
        self._failing = False

    def tail(self, ids: Iterable[str]) -> None:
        """These responses have new events."""
        self._add(TAIL, ids)

    def work(self, ids: Iterable[str]) -> None:
        """These responses want a worker."""
        self._add(WORK, ids)

    async def notify(self, channel: str) -> None:
        """Send an empty notification the way that every wake goes; raises where that fails."""
        await queries.notify(await self._conn.get(), channel=channel)

    def _add(self, channel: str, ids: Iterable[str]) -> None:
        self._ids[channel].update(dict.fromkeys(ids))
        self._news.set()

    async def run(self) -> None:
        """Until cancelled; what is still unsent then is left to the readers' polls."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._send()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._conn.close()

    async def _send(self) -> None:
        batches = [(channel, list(ids)) for channel, ids in self._ids.items() if ids]
        for ids in self._ids.values():
            ids.clear()
        try:
            conn = await self._conn.get()
            for channel, batch in batches:
                await queries.wake(conn, channel=channel, ids=batch)
            self._failing = False
        except (psycopg.Error, errors.DatabaseUnavailable) as exc:
            # Never more than late: readers poll, and workers look for work by themselves.
            if not self._failing:
                log(logger, logging.WARNING, LogEvent.WAKE_FAILED, reason=exc)
            self._failing = True
