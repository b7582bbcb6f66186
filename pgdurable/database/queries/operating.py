"""What people, the server and a refusal do to a response; what a process says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pgdurable.database.queries.rows import Conn, array_literal, fetch_values, milliseconds
from pgdurable.models import Status


async def cancel_response(conn: Conn, *, response_id: str, principal: str) -> Status:
    """Cancel, or ask the worker to; raises ResponseNotFound, AlreadyFinished."""
    (status,) = await fetch_values(
        conn,
        """
        select pgdurable.cancel_response(
          p_response_id => %(response_id)s,
          p_principal   => %(principal)s
        )
        """,
        response_id=response_id,
        principal=principal,
    )
    return Status(status)


async def retry_response(conn: Conn, *, response_id: str, principal: str) -> str:
    """Enqueue a finished response's request anew; raises ResponseNotFound, NotFinished."""
    (new_id,) = await fetch_values(
        conn,
        """
        select pgdurable.retry_response(
          p_response_id => %(response_id)s,
          p_principal   => %(principal)s
        )
        """,
        response_id=response_id,
        principal=principal,
    )
    return str(new_id)


async def delete_response(conn: Conn, *, response_id: str, principal: str) -> None:
    """Delete a response and all that belongs to it; raises ResponseNotFound."""
    await fetch_values(
        conn,
        """
        select pgdurable.delete_response(
          p_response_id => %(response_id)s,
          p_principal   => %(principal)s
        )
        """,
        response_id=response_id,
        principal=principal,
    )


async def fail_response(
    conn: Conn,
    *,
    response_id: str,
    attempt: int,
    lock_timeout: timedelta = timedelta(0),
) -> None:
    """End a response whose events the database refuses; raises LeaseLost."""
    await fetch_values(
        conn,
        """
        select pgdurable.fail_response(
          p_response_id => %(response_id)s,
          p_attempt     => case
            when set_config('lock_timeout', %(lock_timeout)s, true) is not null
            then %(attempt)s::integer
          end
        )
        """,
        response_id=response_id,
        attempt=attempt,
        lock_timeout=milliseconds(lock_timeout),
    )


async def prune_responses(conn: Conn, *, older_than: timedelta, limit: int) -> int:
    """Delete up to `limit` responses that finished longer ago than this; returns how many."""
    (count,) = await fetch_values(
        conn,
        "select pgdurable.prune_responses(p_older_than => %(older_than)s, p_limit => %(limit)s)",
        older_than=older_than,
        limit=limit,
    )
    return int(count)


async def wake(conn: Conn, *, channel: str, ids: Sequence[str]) -> None:
    """Tell listeners which responses have news; a hint, so it is not worth a WAL flush."""
    await fetch_values(
        conn,
        """
        with hint as (select set_config('synchronous_commit', 'off', true))
        select pgdurable.wake(p_channel => %(channel)s, p_ids => %(ids)s::text[]) from hint
        """,
        channel=channel,
        ids=array_literal(ids),
    )


async def notify(conn: Conn, *, channel: str) -> None:
    """Send an empty notification: how a listener checks that it hears."""
    await fetch_values(conn, "select pg_catalog.pg_notify(%(channel)s, '')", channel=channel)


async def register_worker(
    conn: Conn,
    *,
    worker_id: str,
    host: str,
    pid: int,
    queues: list[str],
    concurrency: int,
    version: str,
    agents: list[str],
) -> None:
    """Tell people that this worker process has started."""
    await fetch_values(
        conn,
        """
        select pgdurable.register_worker(
          p_worker_id   => %(worker_id)s,
          p_host        => %(host)s,
          p_pid         => %(pid)s,
          p_queues      => %(queues)s,
          p_concurrency => %(concurrency)s,
          p_version     => %(version)s,
          p_agents      => %(agents)s::text[]
        )
        """,
        worker_id=worker_id,
        host=host,
        pid=pid,
        queues=queues,
        concurrency=concurrency,
        version=version,
        agents=agents,
    )


async def unregister_worker(conn: Conn, *, worker_id: str) -> None:
    """Tell people that this worker process has stopped."""
    await fetch_values(
        conn,
        "select pgdurable.unregister_worker(p_worker_id => %(worker_id)s)",
        worker_id=worker_id,
    )


async def upsert_conversation_alias(
    conn: Conn, *, principal: str, base: str, current: str, response_id: str, attempt: int
) -> None:
    """Point a conversation's stable id at its current one; raises LeaseLost."""
    await fetch_values(
        conn,
        """
        select pgdurable.upsert_conversation_alias(
          p_principal   => %(principal)s,
          p_base        => %(base)s,
          p_current     => %(current)s,
          p_response_id => %(response_id)s,
          p_attempt     => %(attempt)s
        )
        """,
        principal=principal,
        base=base,
        current=current,
        response_id=response_id,
        attempt=attempt,
    )
