"""The hot path: enqueue, claim, take over, heartbeat, append, finish, release."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import orjson
from psycopg import Connection
from psycopg.rows import class_row

from pgdurable.database.queries.rows import Conn, array_literal, fetch, fetch_values, milliseconds
from pgdurable.models import (
    EnqueuedResponse,
    LeaseResult,
    NewEvent,
    Terminal,
    WriteResult,
)

# Postgres takes a lock_timeout of 0 for none.
WITHOUT_LIMIT = timedelta(0)


class NewResponse(NamedTuple):
    """One response to enqueue; `request` and `fields` are compact JSON, `metadata` too."""

    response_id: str
    principal: str
    conversation_id: str | None
    previous_response_id: str | None
    idempotency_key: str | None
    background: bool
    store: bool
    metadata: bytes
    request: bytes
    fields: bytes


class Append(NamedTuple):
    """What one attempt has to say: events that follow `last_seq`, none if it only finishes."""

    response_id: str
    attempt: int
    last_seq: int
    events: Sequence[NewEvent]


class Finish(NamedTuple):
    """How one attempt ends its response; `last_seq` is the number before the terminal event."""

    response_id: str
    attempt: int
    last_seq: int
    terminal: Terminal


def _lines(values: Sequence[bytes]) -> str:
    return b"\n".join(values).decode()


_ENQUEUE_RESPONSES = """
select * from pgdurable.enqueue_responses(
  p_response_ids          => %(response_ids)s::text[],
  p_principals            => %(principals)s::text[],
  p_conversation_ids      => %(conversation_ids)s::text[],
  p_previous_response_ids => %(previous_response_ids)s::text[],
  p_idempotency_keys      => %(idempotency_keys)s::text[],
  p_background            => %(background)s::boolean[],
  p_store                 => %(store)s::boolean[],
  p_metadata              => %(metadata)s,
  p_requests              => %(requests)s,
  p_fields                => %(fields)s,
  p_queue                 => %(queue)s,
  p_agent                 => %(agent)s,
  p_max_attempts          => %(max_attempts)s::integer,
  p_deadline              => %(deadline)s
)
"""


def _enqueue_args(responses: Sequence[NewResponse]) -> dict[str, Any]:
    return {
        "response_ids": array_literal([response.response_id for response in responses]),
        "principals": [response.principal for response in responses],
        "conversation_ids": [response.conversation_id for response in responses],
        "previous_response_ids": [response.previous_response_id for response in responses],
        "idempotency_keys": [response.idempotency_key for response in responses],
        "background": array_literal([response.background for response in responses]),
        "store": array_literal([response.store for response in responses]),
        "metadata": _lines([response.metadata for response in responses]),
        "requests": _lines([response.request for response in responses]),
        "fields": _lines([response.fields for response in responses]),
    }


async def enqueue_responses(
    conn: Conn,
    responses: Sequence[NewResponse],
    *,
    queue: str,
    agent: str,
    max_attempts: int,
    deadline: timedelta | None,
) -> list[EnqueuedResponse]:
    """Enqueue all of them in one transaction; an answer per response, in order."""
    return await fetch(
        conn,
        EnqueuedResponse,
        _ENQUEUE_RESPONSES,
        queue=queue,
        agent=agent,
        max_attempts=max_attempts,
        deadline=deadline,
        **_enqueue_args(responses),
    )


async def enqueue_response(
    conn: Conn,
    request: dict[str, Any],
    *,
    principal: str = "",
    queue: str = "default",
    agent: str | None = None,
    idempotency_key: str | None = None,
) -> str:
    """Enqueue one response inside the caller's transaction and return its id."""
    (response_id,) = await fetch_values(
        conn,
        """
        select pgdurable.enqueue_response(
          p_request         => %(request)s::json,
          p_principal       => %(principal)s,
          p_queue           => %(queue)s,
          p_agent           => %(agent)s,
          p_idempotency_key => %(idempotency_key)s
        )
        """,
        request=orjson.dumps(request).decode(),
        principal=principal,
        queue=queue,
        agent=agent,
        idempotency_key=idempotency_key,
    )
    return str(response_id)


_HEARTBEAT = """
select * from pgdurable.heartbeat(
  p_worker_id    => %(worker_id)s,
  p_response_ids => %(response_ids)s::text[],
  p_attempts     => %(attempts)s::integer[],
  p_lease        => %(lease)s
)
"""


def heartbeat(
    conn: Connection[Any], *, worker_id: str, attempts: dict[str, int], lease: timedelta
) -> list[LeaseResult]:
    """Renew the leases of these attempts; synchronous, for the heartbeat thread."""
    with conn.cursor(row_factory=class_row(LeaseResult), binary=True) as cursor:
        cursor.execute(_HEARTBEAT, _heartbeat_args(worker_id, list(attempts.items()), lease))
        return cursor.fetchall()


def _heartbeat_args(
    worker_id: str, attempts: Sequence[tuple[str, int]], lease: timedelta
) -> dict[str, Any]:
    return {
        "worker_id": worker_id,
        "response_ids": array_literal([response_id for response_id, _ in attempts]),
        "attempts": array_literal([attempt for _, attempt in attempts]),
        "lease": lease,
    }


async def held_responses(
    conn: Conn, *, attempts: Sequence[tuple[str, int]], lease: timedelta
) -> set[str]:
    """The ids whose rows are locked by an open transaction; renews the leases of the others."""
    results = await fetch(conn, LeaseResult, _HEARTBEAT, **_heartbeat_args("", attempts, lease))
    return {result.response_id for result in results if result.outcome == "busy"}


_APPEND_EVENTS = """
select * from pgdurable.append_events(
  p_response_ids => %(a_response_ids)s::text[],
  p_attempts     => %(a_attempts)s::integer[],
  p_last_seqs    => %(a_last_seqs)s::bigint[],
  p_counts       => %(a_counts)s::integer[],
  p_types        => %(a_types)s,
  p_item_ids     => %(a_item_ids)s,
  p_bodies       => %(a_bodies)s,
  p_lease        => case
    when set_config('lock_timeout', %(lock_timeout)s, true) is not null then %(a_lease)s::interval
  end
)
"""
_FINISH_RESPONSES = """
select * from pgdurable.finish_responses(
  p_response_ids => %(f_response_ids)s::text[],
  p_attempts     => %(f_attempts)s::integer[],
  p_last_seqs    => %(f_last_seqs)s::bigint[],
  p_statuses     => %(f_statuses)s::text[],
  p_types        => %(f_types)s,
  p_bodies       => %(f_bodies)s
)
"""
_APPEND_AND_FINISH = f"{_APPEND_EVENTS} union all {_FINISH_RESPONSES}"


def _append_args(
    appends: Sequence[Append], lease: timedelta, lock_timeout: timedelta
) -> dict[str, Any]:
    events = [event for append in appends for event in append.events]
    return {
        "a_response_ids": array_literal([append.response_id for append in appends]),
        "a_attempts": array_literal([append.attempt for append in appends]),
        "a_last_seqs": array_literal([append.last_seq for append in appends]),
        "a_counts": array_literal([len(append.events) for append in appends]),
        "a_types": "\n".join([event.type for event in events]),
        "a_item_ids": "\n".join([event.item_id or "" for event in events]),
        "a_bodies": _lines([event.body for event in events]),
        "a_lease": lease,
        "lock_timeout": milliseconds(lock_timeout),
    }


def _finish_args(finishes: Sequence[Finish]) -> dict[str, Any]:
    return {
        "f_response_ids": array_literal([finish.response_id for finish in finishes]),
        "f_attempts": array_literal([finish.attempt for finish in finishes]),
        "f_last_seqs": array_literal([finish.last_seq for finish in finishes]),
        "f_statuses": array_literal([finish.terminal.status for finish in finishes]),
        "f_types": "\n".join([finish.terminal.event.type for finish in finishes]),
        "f_bodies": _lines([finish.terminal.event.body for finish in finishes]),
    }


async def append_events(
    conn: Conn,
    appends: Sequence[Append],
    *,
    lease: timedelta,
    lock_timeout: timedelta = WITHOUT_LIMIT,
) -> list[WriteResult]:
    """Append to many logs; an answer per response, in order. Repeating it changes nothing."""
    args = _append_args(appends, lease, lock_timeout)
    return await fetch(conn, WriteResult, _APPEND_EVENTS, **args)


async def finish_responses(conn: Conn, finishes: Sequence[Finish]) -> list[WriteResult]:
    """End many responses, each with its terminal event. Repeating it changes nothing."""
    return await fetch(conn, WriteResult, _FINISH_RESPONSES, **_finish_args(finishes))


async def append_and_finish(
    conn: Conn,
    appends: Sequence[Append],
    finishes: Sequence[Finish],
    *,
    lease: timedelta,
    lock_timeout: timedelta = WITHOUT_LIMIT,
) -> tuple[list[WriteResult], list[WriteResult]]:
    """The writer's flush: both calls, in this order, in one statement and one transaction.

    `appends` names every response, those that only finish with no events, so that all row locks
    are taken in one order. Raises psycopg's LockNotAvailable when somebody holds one of the rows
    for longer than `lock_timeout`.
    """
    args = _append_args(appends, lease, lock_timeout)
    if not finishes:
        return await fetch(conn, WriteResult, _APPEND_EVENTS, **args), []
    args |= _finish_args(finishes)
    results = await fetch(conn, WriteResult, _APPEND_AND_FINISH, **args)
    return results[: len(appends)], results[len(appends) :]


async def release_responses(
    conn: Conn, *, attempts: dict[str, int], lock_timeout: timedelta = WITHOUT_LIMIT
) -> list[WriteResult]:
    """Give responses back, their retry budget untouched; refused as `append_and_finish` is."""
    return await fetch(
        conn,
        WriteResult,
        """
        select * from pgdurable.release_responses(
          p_response_ids => %(response_ids)s::text[],
          p_attempts     => case
            when set_config('lock_timeout', %(lock_timeout)s, true) is not null
            then %(attempts)s::integer[]
          end
        )
        """,
        response_ids=array_literal(attempts),
        attempts=array_literal(attempts.values()),
        lock_timeout=milliseconds(lock_timeout),
    )
