"""Two database sessions whose order a test decides, by proof and never by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg

from tests.support.waiting import wait_until_blocked

T = TypeVar("T")


class Session:
    """A connection, and an observer's one to see what it waits for."""

    def __init__(
        self, conn: psycopg.AsyncConnection[Any], observer: psycopg.AsyncConnection[Any]
    ) -> None:
        self.conn = conn
        self._observer = observer

    @property
    def pid(self) -> int:
        return self.conn.info.backend_pid

    async def blocked(self, by: Session, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `call` on this session; returns once Postgres says that it waits for `by`."""
        task = asyncio.create_task(call)
        waiting = asyncio.create_task(wait_until_blocked(self._observer, self.pid))
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            raise AssertionError(f"it did not wait: {task.exception() or task.result()}")
        assert by.pid in waiting.result()
        return task
