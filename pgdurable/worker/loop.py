"""The worker: wait, claim, attempt, drain.

Claims as many responses as it has free slots, looks for expired leases about once a second, and on
its way out hands back what it could not finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.metadata import version

import psycopg

from pgdurable.database import connections, queries
from pgdurable.events.listener import BACKSTOP_SECONDS
from pgdurable.events.wake import WORK, Waker
from pgdurable.events.writer import Stop
from pgdurable.logs import LogEvent, log
from pgdurable.models import ClaimedResponse, NewEvent
from pgdurable.worker.attempt import Attempt
from pgdurable.worker.lease import Heartbeat
from pgdurable.worker.scan import Scan
from pgdurable.worker.shared import Shared
from pgdurable.worker.suspects import Suspects

logger = logging.getLogger(__name__)

# Of many slots a part only, so that claiming, running and storing go on beside each other.
MAX_CLAIM = 100
MAX_BACKOFF_SECONDS = 5.0


def new_worker_id() -> str:
    """Unique per process start; says to a person where to look."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Worker:
    """Runs attempts, `settings.concurrency` of them at a time."""

    def __init__(self, shared: Shared, *, dsn: str, waker: Waker) -> None:
        self._shared = shared
        self._settings = shared.settings
        self._waker = waker
        self._lease = timedelta(seconds=self._settings.heartbeat_stale_threshold_seconds)
        self._claims = connections.OwnConnection(dsn, name="pgdurable claims")
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._backlog = False
        self._stopping = False
        self._suspects = Suspects(self._work.set)
        self._claimant = queries.Claimant(
            worker_id=shared.worker_id,
            queues=[self._settings.queue],
            lease=self._lease,
            agents=[shared.agent.name],
            restarting=[shared.agent.name] if shared.agent.recovery == "restart" else [],
            keeping=[shared.agent.name] if shared.agent.recovery == "session" else [],
        )
        self._heartbeat = Heartbeat(
            dsn,
            worker_id=shared.worker_id,
            interval=timedelta(seconds=self._settings.heartbeat_interval_seconds),
            lease=self._lease,
            on_stop=self._on_stop,
        )
        self._scan = Scan(
            self._claimant,
            self._settings,
            self._claims,
            introduce=self._introduce,
            beat=self._heartbeat.beat,
        )
        self.listening: Callable[[], bool] = lambda: False

    @property
    def free_slots(self) -> int:
        """How many responses may be claimed; none while a suspect waits for room."""
        return 0 if self._scan.wants_room else self._room

    @property
    def _room(self) -> int:
        """How many more may run; none while leases cannot be renewed."""
        if self._stopping or self._heartbeat.is_failing:
            return 0
        return min(self._settings.concurrency, self._suspects.cap) - len(self._attempts)

    @property
    def worker_id(self) -> str:
        return self._shared.worker_id

    def beat(self) -> None:
        """Renew all leases now: others may be wondering whether this process lives."""
        self._heartbeat.beat()

    def on_work(self, ids: list[str] | None) -> None:
        """There may be something to claim, or one of ours was asked to stop."""
        self._work.set()
        for response_id in ids or ():
            if attempt := self._attempts.get(response_id):
                # A cancel or a delete by another process; the database says which.
                self._heartbeat.ask(attempt.response_id, attempt.attempt)

    def stop_attempt(self, response_id: str, stop: Stop) -> None:
        """This process has committed the response's cancel or deletion: stop its attempt here."""
        if attempt := self._attempts.get(response_id):
            attempt.stop(stop)

    @property
    def is_full(self) -> bool:
        """Does it work on as much as it may?"""
        return not self._stopping and len(self._attempts) >= self._settings.concurrency

    async def run(self) -> None:
        """Claim and take over until cancelled; `stop` before that to lose nothing."""
        self._heartbeat.start()
        try:
            await self._forever(self._register, None)
            # What a predecessor has left comes before what is new.
            await self._forever(self._take_over, None)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever(self._claim, self._wait_for_work))
                group.create_task(self._forever(self._take_over, self._scan.wait))
        finally:
            if not self._stopping:  # `stop` still needs it
                await self._claims.close()

    async def stop(self) -> None:
        """Stop claiming, let attempts end, give back the rest; bounded, whatever Postgres does."""
        if self._stopping:
            return
        self._stopping = True
        settings = self._settings
        log(
            logger,
            logging.INFO,
            LogEvent.WORKER_DRAINING,
            worker_id=self._shared.worker_id,
            in_progress=len(self._attempts),
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_timeout_seconds):
                async with self._claiming:  # a claim that is under way still counts
                    pass
                await asyncio.gather(*[attempt.ended() for attempt in self._attempts.values()])
        handing_back = asyncio.ensure_future(self._hand_back())
        await asyncio.wait([handing_back], timeout=settings.cleanup_timeout_seconds)
        await connections.cancel_and_wait(handing_back)
        for attempt in list(self._attempts.values()):
            attempt.forsake()
        self._heartbeat.stop(timeout=1.0)
        await self._claims.close()
        log(logger, logging.INFO, LogEvent.WORKER_STOPPED, worker_id=self._shared.worker_id)

    async def _hand_back(self) -> None:
        attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.stop("release")
        if attempts:
            # One that cannot end, because its handler or its row is stuck, keeps nobody else.
            ending = [asyncio.ensure_future(attempt.ended()) for attempt in attempts]
            await asyncio.wait(ending, timeout=self._settings.cleanup_timeout_seconds / 2)
            await connections.cancel_and_wait(*ending)
        try:
            await self._release({a.response_id: a.attempt for a in attempts if a.released})
            await queries.unregister_worker(
                await self._claims.get(), worker_id=self._shared.worker_id
            )
        except Exception as exc:
            # Nothing is lost: leases expire, and another worker takes over.
            log(logger, logging.WARNING, LogEvent.DATABASE_LOST, reason=exc)

    async def _release(self, released: dict[str, int]) -> None:
        if not released:
            return
        conn = await self._claims.get()
        try:
            results = await queries.release_responses(
                conn, attempts=released, lock_timeout=connections.LOCK_TIMEOUT
            )
        except psycopg.errors.LockNotAvailable:
            held = await queries.held_responses(
                conn, attempts=list(released.items()), lease=self._lease
            )
            if held:  # they have to wait until their leases run out
                await self._release({id_: n for id_, n in released.items() if id_ not in held})
                return
            raise
        for result in results:
            log(
                logger,
                logging.INFO,
                LogEvent.RESPONSE_RELEASED,
                response_id=result.response_id,
                worker_id=self._shared.worker_id,
                outcome=result.outcome,
            )
        await queries.wake(conn, channel=WORK, ids=list(released))

    async def _forever(
        self, step: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]] | None
    ) -> None:
        """Repeat a step, through outages of the database; once, where there is no pause."""
        delay, failing = 0.1, False
        while not self._stopping:
            try:
                await step()
            except Exception as exc:
                if not connections.is_outage(exc):
                    log(logger, logging.ERROR, LogEvent.CLAIM_FAILED, exc_info=exc)
                elif not failing:
                    log(logger, logging.WARNING, LogEvent.DATABASE_LOST, reason=exc)
                failing = True
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)
                continue
            if failing:
                log(logger, logging.INFO, LogEvent.DATABASE_RECOVERED)
            delay, failing = 0.1, False
            if pause is None:
                return
            await pause()

    async def _wait_for_work(self) -> None:
        backstop = BACKSTOP_SECONDS if self.listening() else self._settings.poll_interval_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backstop):
                await self._work.wait()

    async def _register(self) -> None:
        await self._introduce()
        log(logger, logging.INFO, LogEvent.WORKER_STARTED, worker_id=self._shared.worker_id)

    async def _introduce(self) -> None:
        await queries.register_worker(
            await self._claims.get(),
            worker_id=self._shared.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=[self._settings.queue],
            concurrency=self._settings.concurrency,
            version=version("pgdurable"),
            agents=self._claimant.agents,
        )

    async def _claim(self) -> None:
        self._work.clear()
        backlog, self._backlog = self._backlog, True
        while self._backlog and self.free_slots > 0:
            async with self._claiming:
                if (limit := min(self.free_slots, MAX_CLAIM)) <= 0:
                    return
                claimed = await queries.claim_responses(
                    await self._claims.get(), self._claimant, limit=limit
                )
                self._begin(claimed, LogEvent.RESPONSE_CLAIMED)
            self._backlog = len(claimed) == limit
            if self._backlog and not backlog and self.free_slots <= 0:
                # More than we can take, and nobody else may have been told.
                self._waker.work([claimed[-1].response_id])

    async def _take_over(self) -> None:
        async with self._claiming:
            if self._room <= 0:
                await self._scan.pass_over()
            elif await self._scan.is_due(self._attempts.keys()):
                claimed = await self._scan.take_over(self._attempts.keys(), limit=self._room)
                self._begin(claimed, LogEvent.RESPONSE_TAKEN_OVER)

    def _begin(self, claimed: list[ClaimedResponse], event: LogEvent) -> None:
        for response in claimed:
            log(
                logger,
                logging.INFO,
                event,
                response_id=response.response_id,
                attempt=response.attempt,
                worker_id=self._shared.worker_id,
                status=response.status,
            )
            if response.resumed:
                log(
                    logger,
                    logging.INFO,
                    LogEvent.ALIAS_ROTATED,
                    response_id=response.response_id,
                    attempt=response.attempt,
                    conversation_id=response.conversation_id,
                )
            self._start(response)
        self._waker.tail(response.response_id for response in claimed)

    def _start(self, claimed: ClaimedResponse) -> None:
        response_id = claimed.response_id
        if (stale := self._attempts.get(response_id)) is not None:
            stale.stop("lost")  # another worker had it meanwhile
        if claimed.suspect_cap is not None and claimed.suspect_for is not None:
            self._suspects.add(response_id, claimed.suspect_cap, claimed.suspect_for)
        attempt = Attempt(self._shared, claimed, self._ended)
        self._attempts[response_id] = attempt
        self._heartbeat.keep(response_id, attempt.attempt)
        hub = self._shared.hub
        hub.own(response_id)
        if claimed.event_type is not None and claimed.event is not None:
            opening = NewEvent(claimed.event_type, None, claimed.event)
            hub.publish(response_id, claimed.attempt, claimed.last_seq, [opening])
        task = asyncio.create_task(attempt.run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, attempt))

    def _ended(self, attempt: Attempt) -> None:
        """The response is over or not ours: the slot is free, even if the handler goes on."""
        self._heartbeat.drop(attempt.response_id, attempt.attempt)
        if self._attempts.get(attempt.response_id) is attempt:
            del self._attempts[attempt.response_id]
            self._suspects.clear(attempt.response_id)
            self._shared.hub.disown(attempt.response_id)
            if not attempt.is_lost:  # else it may come back
                self._shared.headers.pop(attempt.response_id, None)
        if self._backlog:
            self._work.set()

    def _done(self, task: asyncio.Task[None], attempt: Attempt) -> None:
        self._tasks.discard(task)
        attempt.forsake()
        if not task.cancelled() and (exc := task.exception()):
            log(logger, logging.ERROR, LogEvent.HANDLER_FAILED, exc_info=exc)

    def _on_stop(self, response_id: str, attempt: int, stop: Stop) -> None:
        running = self._attempts.get(response_id)
        if running is not None and running.attempt == attempt:
            running.stop(stop)
