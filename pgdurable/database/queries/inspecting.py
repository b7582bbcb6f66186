"""What a person asks: the views of sql/95_inspect.sql and the history of attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgdurable.database.queries.rows import Conn, fetch
from pgdurable.errors import ResponseNotFound
from pgdurable.models import Status, WithStatus


@dataclass(frozen=True, slots=True)
class ResponseOverview(WithStatus):
    """A row of the view `response_overview`; `lease_left` is negative once it has expired."""

    response_id: str
    status: Status
    attempt: int
    failed_attempts: str
    events: int
    queue: str
    agent: str
    principal: str
    conversation_id: str | None
    worker_id: str | None
    lease_left: timedelta | None
    cancel_requested: bool
    age: timedelta
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """Who ran an attempt, why, with which conversation id, and how that ended."""

    attempt: int
    worker_id: str
    reason: str
    conversation_id: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class WorkerActivity:
    """A row of the view `worker_activity`."""

    worker_id: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    in_progress: int
    version: str
    started_at: datetime
    silent_for: timedelta
    stopped_at: datetime | None


async def response_overviews(
    conn: Conn, *, status: Status | None, queue: str | None, limit: int
) -> list[ResponseOverview]:
    """The newest responses of every principal; None filters nothing."""
    return await fetch(
        conn,
        ResponseOverview,
        """
        select v.*
        from pgdurable.response_overview as v
        where (%(status)s::text is null or v.status = %(status)s)
          and (%(queue)s::text is null or v.queue = %(queue)s)
        order by v.response_id desc
        limit %(limit)s
        """,
        status=None if status is None else str(status),
        queue=queue,
        limit=limit,
    )


async def response_overview(conn: Conn, *, response_id: str) -> ResponseOverview:
    """One response, of any principal; raises ResponseNotFound."""
    rows = await fetch(
        conn,
        ResponseOverview,
        """
        select v.*
        from pgdurable.response_overview as v
        where v.response_id = %(response_id)s
        """,
        response_id=response_id,
    )
    if not rows:
        raise ResponseNotFound(f"Response '{response_id}' not found.")
    return rows[0]


async def attempts(conn: Conn, *, response_id: str) -> list[AttemptRecord]:
    """The history of a response, oldest attempt first."""
    return await fetch(
        conn,
        AttemptRecord,
        """
        select a.attempt, a.worker_id, a.reason, a.conversation_id, a.started_at, a.ended_at,
          a.outcome
        from pgdurable.attempts as a
        where a.response_id = %(response_id)s
        order by a.attempt
        """,
        response_id=response_id,
    )


async def worker_activity(conn: Conn) -> list[WorkerActivity]:
    """Every worker process the database has heard of, the newest first."""
    return await fetch(
        conn,
        WorkerActivity,
        "select v.* from pgdurable.worker_activity as v order by v.started_at desc",
    )
