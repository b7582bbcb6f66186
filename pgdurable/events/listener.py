"""One LISTEN connection per process, which checks that it still hears.

LISTEN first, then tell everybody to look, then wait: nothing can fall in between. Every few seconds
it sends itself a notification, over the connection that every wake takes: on its own one, a pooler
would hand it straight back. A listener that does not hear it (a transaction pooler, a half-open
socket, a lost registration, a listen_dsn of another database) is replaced; until then readers poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from pgdurable import errors
from pgdurable.database import connections
from pgdurable.events.wake import TAIL, WORK
from pgdurable.logs import LogEvent, log

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
# With a listener that hears, looking for news without being told is only a backstop.
BACKSTOP_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 5.0


class Listener:
    """Calls `on_tail(ids)` and `on_work(ids)`; None instead of ids means: look everywhere.

    `notify(channel)` sends a notification by another connection. `hold(conn)` is called on the
    listening connection once it hears, and until it answers True; `on_lost` when it is lost.
    """

    def __init__(
        self,
        dsn: str,
        *,
        on_tail: Callable[[list[str] | None], None],
        on_work: Callable[[list[str] | None], None],
        notify: Callable[[str], Awaitable[None]],
        hold: Callable[[AsyncConnection[Any]], Awaitable[bool]] | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._notify = notify
        self._hold = hold
        self._on_lost = on_lost
        self._handlers = {TAIL: on_tail, WORK: on_work}
        self._check_channel = f"pgdurable_check_{secrets.token_hex(6)}"
        self._heard = 0
        self.hearing = False

    async def run(self) -> None:
        """Listen until cancelled, whatever happens to the connection."""
        delay, said = 0.05, False
        while True:
            reason: Exception | str = "no answer to its own notification"
            try:
                await self._listen()
            except (psycopg.Error, errors.DatabaseUnavailable) as exc:
                reason = exc
            if self.hearing:
                self._on_lost()
                delay, said = 0.05, False
                log(logger, logging.WARNING, LogEvent.LISTENER_LOST, reason=reason)
            elif delay >= MAX_BACKOFF_SECONDS and not said:
                log(logger, logging.WARNING, LogEvent.LISTENER_UNAVAILABLE, reason=reason)
                said = True
            self.hearing = False
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, MAX_BACKOFF_SECONDS)

    async def _listen(self) -> None:
        """Until it goes deaf, which it may be from the beginning."""
        conn = await connections.connect(self._dsn, name="pgdurable listener")
        async with conn:
            with connections.answered(conn, CHECK_SECONDS):
                for channel in (*self._handlers, self._check_channel):
                    await conn.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            is_held = self._hold is None
            while await self._hear_myself(conn):
                if not is_held and self._hold is not None:
                    is_held = await self._hold(conn)
                if not self.hearing:
                    self.hearing = True
                    log(logger, logging.INFO, LogEvent.LISTENER_CONNECTED)
                    for handler in self._handlers.values():
                        handler(None)
                await self._receive(conn, CHECK_SECONDS)

    async def _hear_myself(self, conn: AsyncConnection[Any]) -> bool:
        heard = self._heard
        await self._notify(self._check_channel)
        await self._receive(conn, CHECK_SECONDS, until=heard + 1)
        return self._heard > heard

    async def _receive(
        self, conn: AsyncConnection[Any], seconds: float, *, until: int | None = None
    ) -> None:
        """Hand out what arrives within `seconds`, or until the check was heard `until` times."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            notifies = conn.notifies(timeout=left, stop_after=1)
            async with contextlib.aclosing(notifies):
                async for notify in notifies:
                    self._handle(notify)
            if until is not None and self._heard >= until:
                return

    def _handle(self, notify: psycopg.Notify) -> None:
        if notify.channel == self._check_channel:
            self._heard += 1
        elif handler := self._handlers.get(notify.channel):
            handler(notify.payload.split())
