"""One attempt: drive the handler, feed its log, end the response.

The only producer for the writer. Whatever ends it, it ends in one place (`_end`), once; after
that nothing the handler still does is stored.

```text
               the handler has returned, or has failed
  RUNNING ----------------------------------------------> ENDING ---------------------> ENDED
     |                                                      ^     the last events are     ^
     | stop: cancel, lost, release, timeout                 |     stored, or refused      |
     v                                                      |                             |
  STOPPING -------------------------------------------------+                             |
     |         the handler has heard it, or is left alone after STOP_GRACE_SECONDS        |
     v                                                                                    |
  from anywhere: forsake, because the process ends ---------------------------------------+
```
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, Final, Literal

from pgdurable.agent import (
    AgentRequest,
    Context,
    Handler,
    Mode,
    request_cancel,
    set_request_headers,
)
from pgdurable.envelope import Envelope, Transform, transformed
from pgdurable.envelope.kinds import RESUMED
from pgdurable.envelope.part import new_event
from pgdurable.envelope.previous import PreviousEvent
from pgdurable.envelope.retrace import Retrace
from pgdurable.errors import InvalidEvent, InvalidRequest, LeaseLost
from pgdurable.events.writer import Log
from pgdurable.logs import LogEvent, log
from pgdurable.models import ClaimedResponse, NewEvent
from pgdurable.worker import call
from pgdurable.worker.prepare import Preparation, parsed
from pgdurable.worker.shared import Shared

logger = logging.getLogger(__name__)

Stop = Literal["lost", "cancel", "release", "timeout"]

# A handler that does not stop when it is cancelled is left alone after this.
STOP_GRACE_SECONDS = 2.0
# How many events a handler that never waits may yield before others get a turn.
EVENTS_PER_TURN = 32


class State(StrEnum):
    """Where an attempt stands; the drawing is above."""

    RUNNING = "running"
    STOPPING = "stopping"
    ENDING = "ending"
    ENDED = "ended"


_NEXT: Final = {
    State.RUNNING: {State.STOPPING, State.ENDING, State.ENDED},
    State.STOPPING: {State.ENDING, State.ENDED},
    State.ENDING: {State.ENDED},
    State.ENDED: frozenset[State](),
}


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
            is_recovery=claimed.resumed or claimed.restarted,
            read_previous_events=lambda: self._preparation.previous_events(),
        )
        self._envelope: Envelope | Retrace = _envelope(claimed, shared.transform)
        self._preparation = Preparation(shared, claimed, self._context)
        self._on_ended = on_ended
        self._state = State.RUNNING
        self._stop: Stop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """From the claim to the terminal event, or to whatever stops it before."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        timeout = loop.call_later(self._shared.settings.task_timeout_seconds, self.stop, "timeout")
        failure: Exception | None = None
        try:
            if self._state is State.RUNNING:
                await self._produce()
        except asyncio.CancelledError as exc:
            if self._stop is None:  # the handler has cancelled itself
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

    def stop(self, stop: Stop) -> None:
        """End early: the lease is lost, the client cancels, the worker stops, or time is up.

        The first word counts, but for a lost lease: there is nothing left to end then.
        """
        if self._stop == "lost" or self._state not in (State.RUNNING, State.STOPPING):
            return
        if self._stop is None or stop == "lost":
            self._stop = stop
        if stop == "lost":
            log(logger, logging.WARNING, LogEvent.LEASE_LOST, **self._named)
            self._shared.hub.disown(self.response_id)  # its readers want the successor's events
        if self._state is State.RUNNING:
            self._go(State.STOPPING)
            request_cancel(self._context)
            if self._task is not None:
                self._task.cancel()
            grace = min(STOP_GRACE_SECONDS, self._shared.settings.cleanup_timeout_seconds / 4)
            asyncio.get_running_loop().call_later(grace, self._abandon)

    def forsake(self) -> None:
        """Let go at once, whatever is still running: the process ends."""
        request_cancel(self._context)
        self._let_go()
        if self._task is not None:
            self._task.cancel()

    def _go(self, state: State) -> None:
        """The one place where the state changes."""
        assert state in _NEXT[self._state], f"{self._state} -> {state}"
        self._state = state

    async def ended(self) -> None:
        """Until the response has ended, or this attempt has let go of it."""
        await self._ended.wait()

    @property
    def is_lost(self) -> bool:
        """Has another attempt taken over?"""
        return self._stop == "lost" or self._log.lost

    @property
    def released(self) -> bool:
        """Has it stopped for release, all its events stored, with the lease still its own?"""
        ended = self._state is State.ENDED
        return self._stop == "release" and ended and not self._log.lost

    @property
    def _named(self) -> dict[str, Any]:
        return {
            "response_id": self.response_id,
            "attempt": self.attempt,
            "worker_id": self._shared.worker_id,
        }

    async def _produce(self) -> None:
        if self._claimed.resumed and isinstance(self._envelope, Envelope):
            self._log.append(self._envelope.resume(await self._preparation.previous()))
        elif self._claimed.restarted:
            self._envelope = self._retrace(await self._preparation.previous())
        request = AgentRequest(await self._preparation.request())
        self._preparation.forget()
        handler = self._shared.agent.handler_for(stream=request.get("stream") is True)
        set_request_headers(self._shared.headers.get(self.response_id, {}))
        if handler.mode is Mode.STREAM:
            await self._stream(handler, request)
        else:
            value = await call.for_result(handler, request, self._context)
            self._log.append(self._envelope.result(value))
        self._envelope.annotate(**self._context.annotations())

    def _retrace(self, previous: list[PreviousEvent]) -> Retrace:
        claimed, transform = self._claimed, self._shared.transform
        return Retrace(
            partial(_envelope, claimed),
            previous,
            marker=self._marker,
            transform=transform and partial(transformed, transform, claimed.response_id),
        )

    def _marker(self) -> NewEvent:
        """What tells readers that this attempt says something else than they have seen."""
        log(logger, logging.INFO, LogEvent.RESTART_DIFFERS, **self._named)
        return new_event(
            RESUMED,
            {
                "attempt": self.attempt,
                "from_seq": self._log.last_seq + 1,
                "conversation_id": self._context.conversation_id,
            },
        )

    async def _stream(self, handler: Handler, request: AgentRequest) -> None:
        feed, append, writer = self._envelope.feed, self._log.append, self._shared.writer
        turn = 0
        values = call.for_values(handler, request, self._context)
        async with contextlib.aclosing(values):
            async for value in values:
                if self._state is not State.RUNNING:
                    raise asyncio.CancelledError
                try:
                    events = feed(value)
                except InvalidEvent as exc:
                    await values.athrow(exc)  # names the author's line
                    raise
                append(events)
                turn += 1
                if writer.full:
                    await writer.room()
                elif self._log.held:
                    await self._log.flushed()
                elif turn % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)

    async def _end(self, failure: Exception | None) -> None:
        """The one place where an attempt ends."""
        if self._state not in (State.RUNNING, State.STOPPING):
            return
        self._go(State.ENDING)
        try:
            if self._stop == "release":
                await self._log.flushed()
            elif self._stop != "lost" and not isinstance(failure, LeaseLost):
                await self._finish(failure)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._state is not State.ENDED:
            self._go(State.ENDED)
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
        if self._stop == "cancel":
            return self._envelope.cancel()
        if self._stop == "timeout":
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
        if self._state is State.STOPPING:
            log(logger, logging.WARNING, LogEvent.ATTEMPT_ABANDONED, **self._named)
            self._abandoning = asyncio.ensure_future(self._end(None))


def _envelope(claimed: ClaimedResponse, transform: Transform | None = None) -> Envelope:
    return Envelope(
        claimed.response_id,
        created_at=claimed.created_at,
        attempt=claimed.attempt,
        fields=_fields(claimed),
        transform=transform,
    )


def _fields(claimed: ClaimedResponse) -> dict[str, Any]:
    try:
        fields = parsed(claimed.fields)
    except InvalidRequest:
        fields = {}  # the request holds the same, and fails the attempt
    return {**fields, "background": claimed.background}
