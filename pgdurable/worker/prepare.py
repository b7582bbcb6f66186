"""The request as the handler gets it: complete, on its conversation, with what is known already."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson

from pgdurable.agent import AgentRequest, Context
from pgdurable.database import connections, queries
from pgdurable.envelope.previous import PreviousEvent, read_previous
from pgdurable.errors import InvalidRequest
from pgdurable.logs import LogEvent, log
from pgdurable.models import ClaimedResponse
from pgdurable.requests import chain, check_fields, with_conversation
from pgdurable.worker import call
from pgdurable.worker.recovery import resumed_request, session_request
from pgdurable.worker.shared import Shared

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Preparation:
    """Makes the request of one attempt, and reads what earlier attempts have stored."""

    def __init__(self, shared: Shared, claimed: ClaimedResponse, context: Context) -> None:
        self._shared = shared
        self._claimed = claimed
        self._context = context
        self._previous: list[PreviousEvent] | None = None

    async def previous(self) -> list[PreviousEvent]:
        """All stored events of earlier attempts; read and decoded once, until `forget`."""
        if self._previous is None:
            claimed = self._claimed
            self._previous = read_previous(
                await self._read(
                    lambda conn: queries.previous_events(
                        conn, response_id=claimed.response_id, attempt=claimed.attempt
                    )
                )
            )
        return self._previous

    def forget(self) -> None:
        """Keep no earlier events in memory: the handler has begun."""
        self._previous = None

    async def previous_events(self) -> list[dict[str, Any]]:
        """The same, as handlers see events."""
        return [
            {**event, "sequence_number": seq, "attempt_number": attempt}
            for seq, attempt, _, event in await self.previous()
        ]

    async def request(self) -> dict[str, Any]:
        """The request; raises InvalidRequest for one that no handler could take."""
        claimed = self._claimed
        request = parsed(claimed.request)
        check_fields(request)  # release 0.1.0 took from psql what POST refuses
        if chain.refers_back(request):
            request = await self._read(
                lambda conn: chain.expand(conn, request, principal=claimed.principal)
            )
        if claimed.resumed:
            return await self._resumed(request)
        base = claimed.base_conversation_id
        if base is not None and self._context.conversation_id != base:
            log(
                logger,
                logging.INFO,
                LogEvent.ALIAS_RESOLVED,
                response_id=claimed.response_id,
                attempt=claimed.attempt,
                worker_id=self._shared.worker_id,
            )
            return with_conversation(request, self._context.conversation_id)
        return request

    async def _resumed(self, request: dict[str, Any]) -> dict[str, Any]:
        conversation_id = self._context.conversation_id
        recover = self._shared.agent.on_recovery.handler
        if self._shared.agent.recovery == "session":
            return session_request(request, conversation_id=conversation_id)
        if recover is None:
            return resumed_request(
                request,
                conversation_id=conversation_id,
                events=await self.previous(),
                max_bytes=self._shared.settings.recovery_max_bytes,
            )
        rotated = AgentRequest(with_conversation(request, conversation_id))
        recovered = await call.for_result(recover, rotated, self._context)
        return dict(rotated if recovered is None else recovered)

    async def _read(self, query: Callable[[queries.Conn], Awaitable[T]]) -> T:
        """What the query answers; an outage of the database is not the handler's failure."""

        async def read() -> T:
            async with self._shared.pool.connection() as conn:
                return await query(conn)

        return await connections.through_outages(read)


def parsed(body: bytes | None) -> dict[str, Any]:
    """A JSON object as Postgres stores it: a person may have enqueued what no client could."""
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The request cannot be read: {exc}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request is not a JSON object.")
    return value
