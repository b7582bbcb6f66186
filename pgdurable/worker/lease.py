"""The heartbeat: a thread with its own connection renews every lease of the process.

It shares nothing with the event loop but a dictionary, so a handler that blocks the loop does not
lose its lease. One statement per interval, however many responses are in progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import Connection

from pgdurable.database import connections, queries
from pgdurable.events.writer import Stop
from pgdurable.logs import LogEvent, Repeated, log
from pgdurable.models import LeaseResult

logger = logging.getLogger(__name__)

# A row that somebody holds for a moment is asked for again this soon.
BUSY_RETRY_SECONDS = 0.2
# How long a beat may take at the least, however short the interval is.
MIN_ANSWER_SECONDS = 1.0


class Heartbeat:
    """Holds the leases of this process's attempts until they are dropped.

    `on_stop(response_id, attempt, "lost" | "cancel")` is called on the event loop.
    """

    def __init__(
        self,
        dsn: str,
        *,
        worker_id: str,
        interval: timedelta,
        lease: timedelta,
        on_stop: Callable[[str, int, Stop], None],
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._interval = interval.total_seconds()
        self._lease = lease
        self._on_stop = on_stop
        self._attempts: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._at_once = False
        # With nothing to renew, a beat only says that the worker is there.
        self._idle_beats = max(1, int(lease / interval * 0.7))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._conn: Connection[Any] | None = None
        self._failing = Repeated()
        self._thread = threading.Thread(target=self._beat, name="pgdurable-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat; call it on the event loop that `on_stop` belongs to."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; one that hangs on a dead connection is left behind."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def keep(self, response_id: str, attempt: int) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._attempts[response_id] = attempt

    def drop(self, response_id: str, attempt: int) -> None:
        """Renew it no longer."""
        with self._lock:
            if self._attempts.get(response_id) == attempt:
                del self._attempts[response_id]

    def ask(self, response_id: str, attempt: int) -> None:
        """Ask the database about this one now: somebody may have cancelled or deleted it."""
        with self._lock:
            self._asked[response_id] = attempt
        self._wake.set()

    def beat(self) -> None:
        """Renew all leases now."""
        with self._lock:
            self._at_once = True
        self._wake.set()

    @property
    def is_failing(self) -> bool:
        """Did the last renewal fail?"""
        return self._failing.goes_on

    def _beat(self) -> None:
        beats = 0
        next_beat = time.monotonic() + self._interval
        while not self._stopping.is_set():
            self._wake.wait(max(0.0, next_beat - time.monotonic()))
            self._wake.clear()
            with self._lock:
                attempts, asked = dict(self._attempts), self._asked
                self._asked = {}
                at_once, self._at_once = self._at_once, False
            if at_once or time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._interval
                beats += 1
                if at_once or attempts or beats % self._idle_beats == 0:
                    self._renew(attempts)
            elif asked and not self._stopping.is_set():
                self._renew(asked)
        self._close()

    def _renew(self, attempts: dict[str, int]) -> None:
        """One beat; busy rows are asked for again until the next one is due."""
        waited = 0.0
        while True:
            busy = self._ask(attempts)
            if not busy or waited >= self._interval:
                return
            waited += BUSY_RETRY_SECONDS
            if self._stopping.wait(BUSY_RETRY_SECONDS):
                return
            attempts = busy

    def _ask(self, attempts: dict[str, int]) -> dict[str, int]:
        try:
            results = self._query(attempts)
        except Exception as exc:
            # The leases run on for a while; the next beat tries again, on a new connection.
            self._close()
            if self._failing.due():
                log(
                    logger,
                    logging.WARNING,
                    LogEvent.RENEWAL_FAILED,
                    worker_id=self._worker_id,
                    reason=exc,
                    exc_info=None if connections.is_outage(exc) else exc,
                )
            return {}
        if self._failing.over():
            log(logger, logging.INFO, LogEvent.RENEWAL_RECOVERED, worker_id=self._worker_id)
        busy: dict[str, int] = {}
        for result in results:
            if result.outcome == "busy":
                busy[result.response_id] = result.attempt
            elif result.outcome != "ok":
                self._tell(
                    result.response_id,
                    result.attempt,
                    "lost" if result.outcome == "lost" else "cancel",
                )
        return busy

    def _query(self, attempts: dict[str, int]) -> list[LeaseResult]:
        if self._conn is None or self._conn.closed:
            self._conn = connections.connect_sync(self._dsn, name="pgdurable heartbeat")
        # Leases are at stake: a proxy that has stopped forwarding must not keep us for long.
        timer = threading.Timer(
            max(self._interval, MIN_ANSWER_SECONDS), connections.hang_up, [self._conn]
        )
        timer.daemon = True
        timer.start()
        try:
            return queries.heartbeat(
                self._conn, worker_id=self._worker_id, attempts=attempts, lease=self._lease
            )
        finally:
            timer.cancel()

    def _close(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(psycopg.Error):
                self._conn.close()

    def _tell(self, response_id: str, attempt: int, stop: Stop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._on_stop, response_id, attempt, stop)
