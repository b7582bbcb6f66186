"""One LISTEN connection per process, which checks that it still hears.

LISTEN first, then tell everybody to look, then wait: nothing can fall in between. Every few seconds
the connection notifies itself; a listener that does not hear its own voice (a transaction pooler, a
half-open socket, a lost registration) is replaced, and until then readers poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from pgdurable import db, errors
from pgdurable.logs import LogEvent, log
from pgdurable.wake import TAIL, WORK

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 5.0


class Listener:
    """Calls `on_tail(ids)` and `on_work(ids)`; None instead of ids means: look everywhere."""

    def __init__(
        self,
        dsn: str,
        *,
        on_tail: Callable[[list[str] | None], None],
        on_work: Callable[[list[str] | None], None],
    ) -> None:
        self._dsn = dsn
        self._handlers = {TAIL: on_tail, WORK: on_work}
        self._check_channel = f"pgdurable_check_{secrets.token_hex(6)}"
        self._heard_at = 0.0
        self.hearing = False

    async def run(self) -> None:
        """Listen until cancelled, whatever happens to the connection."""
        delay = 0.05
        while True:
            reason: Exception | str = "no answer to its own notification"
            try:
                if await self._listen():
                    delay = 0.05
            except (psycopg.Error, errors.DatabaseUnavailable) as exc:
                reason = exc
            if self.hearing:
                log(logger, logging.WARNING, LogEvent.LISTENER_LOST, reason=reason)
            elif delay >= MAX_BACKOFF_SECONDS:
                log(logger, logging.WARNING, LogEvent.LISTENER_UNAVAILABLE, reason=reason)
            self.hearing = False
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, MAX_BACKOFF_SECONDS)

    async def _listen(self) -> bool:
        """Until it goes deaf; True if it ever heard."""
        conn = await db.connect(self._dsn, name="pgdurable listener")
        async with conn:
            for channel in (*self._handlers, self._check_channel):
                await conn.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            heard = False
            while await self._hear_myself(conn):
                if not heard:
                    heard = self.hearing = True
                    log(logger, logging.INFO, LogEvent.LISTENER_CONNECTED)
                    for handler in self._handlers.values():
                        handler(None)
                await self._receive(conn, CHECK_SECONDS, until_heard=False)
            return heard

    async def _hear_myself(self, conn: AsyncConnection[Any]) -> bool:
        sent_at = time.monotonic()
        await conn.execute("select pg_catalog.pg_notify(%s, '')", [self._check_channel])
        await self._receive(conn, CHECK_SECONDS, until_heard=True)
        return self._heard_at >= sent_at

    async def _receive(
        self, conn: AsyncConnection[Any], seconds: float, *, until_heard: bool
    ) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            notifies = conn.notifies(timeout=left, stop_after=1)
            async with contextlib.aclosing(notifies):
                async for notify in notifies:
                    self._handle(notify)
            if until_heard and self._heard_at >= deadline - seconds:
                return

    def _handle(self, notify: psycopg.Notify) -> None:
        if notify.channel == self._check_channel:
            self._heard_at = time.monotonic()
        elif handler := self._handlers.get(notify.channel):
            handler(notify.payload.split())
