"""The reader's side: one snapshot each, no locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson

from pgdurable.database.queries.rows import Conn, fetch, fetch_tuples, fetch_values
from pgdurable.models import (
    ChainLink,
    Conversation,
    Event,
    ListedResponse,
    ResponseSnapshot,
    Status,
    StoredItem,
)


async def get_response(conn: Conn, *, response_id: str, principal: str) -> ResponseSnapshot:
    """The response as it stands; raises ResponseNotFound."""
    (snapshot,) = await fetch(
        conn,
        ResponseSnapshot,
        """
        select * from pgdurable.get_response(
          p_response_id => %(response_id)s,
          p_principal   => %(principal)s
        )
        """,
        response_id=response_id,
        principal=principal,
    )
    return snapshot


async def read_events(conn: Conn, cursors: dict[str, int], *, limit: int = 1000) -> list[Event]:
    """Up to `limit` events per response after its cursor, in order."""
    rows = await fetch_tuples(
        conn,
        """
        select * from pgdurable.read_events(
          p_response_ids => %(response_ids)s::text[],
          p_cursors      => %(cursors)s::bigint[],
          p_limit        => %(limit)s::integer
        )
        """,
        response_ids=list(cursors),
        cursors=list(cursors.values()),
        limit=limit,
    )
    return [Event._make(row) for row in rows]


async def existing_responses(conn: Conn, response_ids: Sequence[str]) -> set[str]:
    """Those of the ids whose responses have not been deleted."""
    return set(
        await fetch_values(
            conn,
            "select pgdurable.existing_responses(p_response_ids => %(response_ids)s::text[])",
            response_ids=list(response_ids),
        )
    )


async def previous_events(conn: Conn, *, response_id: str, attempt: int) -> list[Event]:
    """Everything that the attempts before this one appended."""
    rows = await fetch_tuples(
        conn,
        """
        select * from pgdurable.previous_events(
          p_response_id => %(response_id)s,
          p_attempt     => %(attempt)s::integer
        )
        """,
        response_id=response_id,
        attempt=attempt,
    )
    return [Event._make(row) for row in rows]


async def get_request(conn: Conn, *, response_id: str, principal: str) -> bytes:
    """The request of a response, as JSON; raises ResponseNotFound."""
    (body,) = await fetch_values(
        conn,
        """
        select pgdurable.get_request(
          p_response_id => %(response_id)s,
          p_principal   => %(principal)s
        )
        """,
        response_id=response_id,
        principal=principal,
    )
    return bytes(body)


async def unknown_references(
    conn: Conn, *, principal: str, response_ids: Sequence[str], item_ids: Sequence[str]
) -> list[str]:
    """Those of the ids that the principal has no response or no closed item for, as given."""
    return await fetch_values(
        conn,
        """
        select pgdurable.unknown_references(
          p_principal    => %(principal)s,
          p_response_ids => %(response_ids)s::text[],
          p_item_ids     => %(item_ids)s::text[]
        )
        """,
        principal=principal,
        response_ids=list(response_ids),
        item_ids=list(item_ids),
    )


async def read_items(conn: Conn, *, principal: str, item_ids: Sequence[str]) -> list[StoredItem]:
    """The closed items with these ids; unknown ones are missing from the answer."""
    return await fetch(
        conn,
        StoredItem,
        """
        select * from pgdurable.read_items(
          p_principal => %(principal)s,
          p_item_ids  => %(item_ids)s::text[]
        )
        """,
        principal=principal,
        item_ids=list(item_ids),
    )


async def read_chain(conn: Conn, *, principal: str, previous_response_id: str) -> list[ChainLink]:
    """The responses that `previous_response_id` leads back to, oldest first; empty if unknown."""
    return await fetch(
        conn,
        ChainLink,
        """
        select * from pgdurable.read_chain(
          p_principal            => %(principal)s,
          p_previous_response_id => %(previous_response_id)s
        )
        """,
        principal=principal,
        previous_response_id=previous_response_id,
    )


async def resolve_conversation_alias(conn: Conn, *, principal: str, base: str) -> str:
    """The current id of a conversation."""
    (current,) = await fetch_values(
        conn,
        """
        select pgdurable.resolve_conversation_alias(
          p_principal => %(principal)s,
          p_base      => %(base)s
        )
        """,
        principal=principal,
        base=base,
    )
    return str(current)


async def oldest_wait(conn: Conn, *, queue: str) -> timedelta | None:
    """How long the oldest queued response has waited; None where none is queued."""
    (waited,) = await fetch_values(
        conn,
        """
        select pgdurable.now() - min(r.available_at)
        from pgdurable.responses as r
        where r.queue = %(queue)s and r.status = 'queued'
        """,
        queue=queue,
    )
    assert waited is None or isinstance(waited, timedelta)
    return waited


async def get_conversation(conn: Conn, *, principal: str, base: str) -> Conversation | None:
    """A conversation with its rotations and its active response; None where there is none."""
    rows = await fetch(
        conn,
        Conversation,
        """
        select * from pgdurable.get_conversation(
          p_principal => %(principal)s,
          p_base      => %(base)s
        )
        """,
        principal=principal,
        base=base,
    )
    return rows[0] if rows else None


async def list_responses(
    conn: Conn,
    *,
    principal: str,
    status: Status | None,
    conversation_id: str | None,
    metadata: dict[str, Any] | None,
    after: str | None,
    limit: int,
    ascending: bool,
) -> list[ListedResponse]:
    """A page of responses; None filters nothing."""
    return await fetch(
        conn,
        ListedResponse,
        """
        select * from pgdurable.list_responses(
          p_principal       => %(principal)s,
          p_status          => %(status)s,
          p_conversation_id => %(conversation_id)s,
          p_metadata        => %(metadata)s::jsonb,
          p_after           => %(after)s,
          p_limit           => %(limit)s::integer,
          p_ascending       => %(ascending)s
        )
        """,
        principal=principal,
        status=None if status is None else str(status),
        conversation_id=conversation_id,
        metadata=None if not metadata else orjson.dumps(metadata).decode(),
        after=after,
        limit=limit,
        ascending=ascending,
    )
