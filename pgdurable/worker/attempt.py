"""One attempt: drive the handler, feed its log, end the response.

The only producer for the writer. Whatever ends it, it ends in one place (`_end`), once; after
that nothing the handler still does is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson
from psycopg_pool import AsyncConnectionPool

from pgdurable.agent import Agent, AgentRequest, Context, Handler, Mode, set_request_headers
from pgdurable.config import LongRunningSettings
from pgdurable.database import connections, queries
from pgdurable.envelope import Envelope, Transform
from pgdurable.errors import InvalidEvent, InvalidRequest, LeaseLost
from pgdurable.events.hub import Hub
from pgdurable.events.writer import Log, Writer
from pgdurable.logs import LogEvent, log
from pgdurable.models import ClaimedResponse, Event
from pgdurable.requests import chain, check_input, with_conversation
from pgdurable.worker import call
from pgdurable.worker.recovery import resumed_request

logger = logging.getLogger(__name__)

T = TypeVar("T")
Reason = Literal["lost", "cancel", "release", "timeout"]

# A handler that does not stop when it is cancelled is left alone after this.
STOP_GRACE_SECONDS = 2.0
# How many events a handler that never waits may yield before others get a turn.
EVENTS_PER_TURN = 32
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all attempts of a process share."""

    agent: Agent
    settings: LongRunningSettings
    pool: AsyncConnectionPool
    writer: Writer
    hub: Hub
    worker_id: str
    headers: dict[str, dict[str, str]]
    transform: Transform | None = None


class Attempt:
    """The life of one `(response_id, attempt)` in this process.

    `on_ended` is called once, when the response has ended or this attempt has let go of it; a
    handler that ignores its cancellation may go on after that.
    """

    def __init__(
        self, shared: Shared, claimed: ClaimedResponse, on_ended: Callable[[Attempt], None]
    ) -> None:
        self.response_id = claimed.response_id
        self.attempt = claimed.attempt
        self._shared = shared
        self._claimed = claimed
        self._log = Log(
            shared.writer, claimed.response_id, claimed.attempt, claimed.last_seq, self.stop
        )
        self._context = Context(
            response_id=claimed.response_id,
            attempt=claimed.attempt,
            conversation_id=claimed.conversation_id or claimed.response_id,
            base_conversation_id=claimed.base_conversation_id,
            principal=claimed.principal,
            is_recovery=claimed.resumed,
            read_previous_events=self._previous_events,
        )
        self._envelope = Envelope(
            claimed.response_id,
            created_at=claimed.created_at,
            attempt=claimed.attempt,
            fields=_fields(claimed),
            transform=shared.transform,
        )
        self._on_ended = on_ended
        self._reason: Reason | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended = asyncio.Event()
        self._ending = False

    async def run(self) -> None:
        """From the claim to the terminal event, or to whatever stops it before."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        timeout = loop.call_later(self._shared.settings.task_timeout_seconds, self.stop, "timeout")
        failure: Exception | None = None
        try:
            if self._reason is None:
                await self._produce()
        except asyncio.CancelledError as exc:
            if self._reason is None:  # the handler has cancelled itself
                failure = call.Quit(exc)
            elif self._task is not None:
                self._task.uncancel()
        except Exception as exc:
            failure = exc
        except BaseException as exc:  # sys.exit() in a handler ends its attempt, not the others'
            failure = call.Quit(exc)
        finally:
            timeout.cancel()
        await self._end(failure)

    def stop(self, reason: Reason) -> None:
        """End early: the lease is lost, the client cancels, the worker stops, or time is up."""
        if self._reason == "lost" or self._ending or self._ended.is_set():
            return
        first = self._reason is None
        self._reason = reason if first or reason == "lost" else self._reason
        if reason == "lost":
            log(logger, logging.WARNING, LogEvent.LEASE_LOST, **self._named)
            self._shared.hub.disown(self.response_id)  # its readers want the successor's events
        if first:
            self._context.request_cancel()
            if self._task is not None:
                self._task.cancel()
            grace = min(STOP_GRACE_SECONDS, self._shared.settings.cleanup_timeout_seconds / 4)
            asyncio.get_running_loop().call_later(grace, self._abandon)

    def forsake(self) -> None:
        """Let go at once, whatever is still running: the process ends."""
        self._ending = True
        self._context.request_cancel()
        self._let_go()
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Until the response has ended, or this attempt has let go of it."""
        await self._ended.wait()

    @property
    def released(self) -> bool:
        """Has it stopped for release, all its events stored, with the lease still its own?"""
        return self._reason == "release" and self._ended.is_set() and not self._log.lost

    @property
    def _named(self) -> dict[str, Any]:
        return {
            "response_id": self.response_id,
            "attempt": self.attempt,
            "worker_id": self._shared.worker_id,
        }

    async def _produce(self) -> None:
        request = AgentRequest(await self._request())
        handler = self._shared.agent.handler_for(stream=request.get("stream") is True)
        set_request_headers(self._shared.headers.get(self.response_id, {}))
        if handler.mode is Mode.STREAM:
            await self._stream(handler, request)
        else:
            value = await call.for_result(handler, request, self._context)
            self._log.append(self._envelope.result(value))
        self._envelope.annotate(**self._context.annotations())

    async def _stream(self, handler: Handler, request: AgentRequest) -> None:
        feed, append, writer = self._envelope.feed, self._log.append, self._shared.writer
        turn = 0
        values = call.for_values(handler, request, self._context)
        async with contextlib.aclosing(values):
            async for value in values:
                if self._reason is not None:
                    raise asyncio.CancelledError
                append(feed(value))
                turn += 1
                if writer.full:
                    await writer.room()
                elif self._log.held:
                    await self._log.flushed()
                elif turn % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)

    async def _request(self) -> dict[str, Any]:
        """The request as the handler gets it: complete, on its conversation, with what is known."""
        claimed = self._claimed
        request = _parsed(claimed.request)
        check_input(request)  # a person may have enqueued it
        if chain.refers_back(request):
            request = await self._read(
                lambda conn: chain.expand(conn, request, principal=claimed.principal)
            )
        if claimed.resumed:
            return await self._resume(request)
        base = claimed.base_conversation_id
        if base is not None and self._context.conversation_id != base:
            log(logger, logging.INFO, LogEvent.ALIAS_RESOLVED, **self._named)
            return with_conversation(request, self._context.conversation_id)
        return request

    async def _resume(self, request: dict[str, Any]) -> dict[str, Any]:
        events = await self._read_previous()
        self._log.append(self._envelope.resume([(event.type, event.body) for event in events]))
        conversation_id = self._context.conversation_id
        recover = self._shared.agent.on_recovery.handler
        if recover is None:
            return resumed_request(
                request,
                conversation_id=conversation_id,
                events=[(event.attempt, event.type, event.body) for event in events],
                max_bytes=self._shared.settings.recovery_max_bytes,
            )
        rotated = AgentRequest(with_conversation(request, conversation_id))
        recovered = await call.for_result(recover, rotated, self._context)
        return dict(rotated if recovered is None else recovered)

    async def _read_previous(self) -> list[Event]:
        return await self._read(
            lambda conn: queries.previous_events(
                conn, response_id=self.response_id, attempt=self.attempt
            )
        )

    async def _read(self, query: Callable[[queries.Conn], Awaitable[T]]) -> T:
        """What the query answers; an outage of the database is not the handler's failure."""
        while True:
            try:
                async with self._shared.pool.connection() as conn:
                    return await query(conn)
            except Exception as exc:
                if not connections.is_outage(exc):
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _previous_events(self) -> list[dict[str, Any]]:
        return [
            {
                **orjson.loads(event.body),
                "sequence_number": event.seq,
                "attempt_number": event.attempt,
            }
            for event in await self._read_previous()
        ]

    async def _end(self, failure: Exception | None) -> None:
        """The one place where an attempt ends."""
        if self._ending:
            return
        self._ending = True
        try:
            if self._reason == "release":
                await self._log.flushed()
            elif self._reason != "lost" and not isinstance(failure, LeaseLost):
                await self._finish(failure)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._on_ended(self)

    async def _finish(self, failure: Exception | None) -> None:
        try:
            events, terminal = self._ending_of(failure)
        except Exception as exc:  # else it would run again, to fail at its end again
            events, terminal = self._ending_of(exc)
        try:
            self._log.append(events)
            finished = await self._log.finish(terminal)
        except LeaseLost:
            finished = False
        if finished:
            log(
                logger,
                logging.INFO,
                LogEvent.RESPONSE_FINISHED,
                **self._named,
                status=terminal.status,
            )

    def _ending_of(self, failure: Exception | None) -> Any:
        if self._reason == "cancel":
            return self._envelope.cancel()
        if self._reason == "timeout":
            seconds = self._shared.settings.task_timeout_seconds
            log(logger, logging.WARNING, LogEvent.ATTEMPT_TIMED_OUT, **self._named)
            return self._envelope.fail("task_timeout", f"Task timed out after {seconds:g} s.")
        if failure is None:
            return self._envelope.complete()
        log(logger, logging.ERROR, LogEvent.HANDLER_FAILED, **self._named, exc_info=failure)
        if isinstance(failure, InvalidEvent):
            return self._envelope.fail("invalid_event", str(failure))
        if isinstance(failure, InvalidRequest):
            return self._envelope.fail("invalid_request", str(failure))
        # What an exception says may be a secret; what it is helps, and the log has the rest.
        raised = failure.raised if isinstance(failure, call.Quit) else failure
        return self._envelope.fail(
            "server_error", f"The agent failed with {type(raised).__name__}."
        )

    def _abandon(self) -> None:
        """The handler did not stop when it was told to: end without it."""
        if not self._ending:
            log(logger, logging.WARNING, LogEvent.ATTEMPT_ABANDONED, **self._named)
            self._abandoning = asyncio.ensure_future(self._end(None))


def _fields(claimed: ClaimedResponse) -> dict[str, Any]:
    try:
        return _parsed(claimed.fields)
    except InvalidRequest:
        return {}  # the request holds the same, and fails the attempt


def _parsed(body: bytes | None) -> dict[str, Any]:
    """A JSON object as Postgres stores it: a person may have enqueued what no client could."""
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The request cannot be read: {exc}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request is not a JSON object.")
    return value
