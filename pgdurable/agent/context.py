"""What a handler may know about the attempt it is, and what it may add to the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

PreviousEvents = Callable[[], Awaitable[list[dict[str, Any]]]]


async def _no_events() -> list[dict[str, Any]]:
    return []


@dataclass(kw_only=True, slots=True)
class Context:
    """One attempt, seen from its handler.

    `conversation_id` is the current one, after rotations; `base_conversation_id` is the one the
    client sent, None where it sent none. `(response_id, attempt)` is unique to this execution
    and serves as an idempotency key for effects outside Postgres.

    A handler may set `trace_id`, `usage`, `metadata`, `custom_outputs` and `model`; they end up
    in the final response object.
    """

    response_id: str
    attempt: int
    conversation_id: str
    base_conversation_id: str | None = None
    principal: str = ""
    is_recovery: bool = False

    trace_id: str | None = None
    usage: Any = None
    metadata: dict[str, Any] | None = None
    custom_outputs: dict[str, Any] | None = None
    model: str | None = None

    read_previous_events: PreviousEvents = field(default=_no_events, repr=False)
    _cancel_requested: bool = field(default=False, init=False, repr=False)

    async def previous_events(self) -> list[dict[str, Any]]:
        """Return the stored events of all earlier attempts, oldest first."""
        return await self.read_previous_events()

    @property
    def cancel_requested(self) -> bool:
        """Whether the handler should stop: nothing it yields from now on will be stored.

        Async handlers are cancelled anyway; a sync one, in its thread, can only look here.
        """
        return self._cancel_requested

    @classmethod
    def for_test(
        cls,
        *,
        attempt: int = 1,
        conversation_id: str = "conv_test",
        previous_events: Sequence[dict[str, Any]] = (),
    ) -> Context:
        """Return a context that needs no server, for an author's own tests.

        With `previous_events` it is that of an attempt after a crash; give it an `attempt` of 2.
        """

        async def read() -> list[dict[str, Any]]:
            return list(previous_events)

        return cls(
            response_id="resp_test",
            attempt=attempt,
            conversation_id=conversation_id,
            is_recovery=bool(previous_events),
            read_previous_events=read,
        )

    def annotations(self) -> dict[str, Any]:
        """Return what the handler has set for the final response object."""
        values = {
            "trace_id": self.trace_id,
            "usage": self.usage,
            "metadata": self.metadata,
            "custom_outputs": self.custom_outputs,
            "model": self.model,
        }
        return {name: value for name, value in values.items() if value is not None}


def request_cancel(context: Context) -> None:
    """Tell the handler to stop; may be called from any thread."""
    context._cancel_requested = True
