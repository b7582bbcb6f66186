"""The engine, called as the runtime calls it, with arguments that most tests do not care about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString, NamedTuple

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pgdurable.database import queries
from pgdurable.database.queries import Append, Claimant, Finish, NewResponse
from pgdurable.models import (
    ClaimedResponse,
    EnqueuedResponse,
    NewEvent,
    Status,
    Terminal,
    WriteResult,
)

Conn = AsyncConnection[Any]
_number = itertools.count()
LEASE = timedelta(seconds=10)
PAST_LEASE = LEASE + timedelta(seconds=1)
QUEUES = ["default"]
TERMINAL_TYPE = {
    Status.COMPLETED: "response.completed",
    Status.FAILED: "response.failed",
    Status.INCOMPLETE: "response.incomplete",
    Status.CANCELLED: "response.incomplete",
}


class Logged(NamedTuple):
    """One row of `events`, without its body."""

    seq: int
    attempt: int
    type: str


def delta(text: str = "x") -> NewEvent:
    body = {"type": "response.output_text.delta", "delta": text}
    return NewEvent("response.output_text.delta", None, orjson.dumps(body))


def added(item_id: str, index: int = 0, **fields: Any) -> NewEvent:
    item = {"id": item_id, "type": "message", "status": "in_progress", **fields}
    return _item_event("response.output_item.added", None, index, item)


def done(item_id: str, index: int = 0, **fields: Any) -> NewEvent:
    item = {"id": item_id, "type": "message", "status": "completed", **fields}
    return _item_event("response.output_item.done", item_id, index, item)


def _item_event(kind: str, item_id: str | None, index: int, item: dict[str, Any]) -> NewEvent:
    return NewEvent(
        kind, item_id, orjson.dumps({"type": kind, "output_index": index, "item": item})
    )


def terminal(status: Status = Status.COMPLETED) -> Terminal:
    kind = TERMINAL_TYPE.get(status, "response.completed")
    body = {"type": kind, "response": {"status": status}}
    return Terminal(status, NewEvent(kind, None, orjson.dumps(body)))


async def value(conn: Conn, query: LiteralString, *args: Any) -> Any:
    """The first column of the first row."""
    row = await (await conn.execute(query, args)).fetchone()
    assert row is not None, query
    return row[0]


async def new_id(conn: Conn) -> str:
    """As SQL makes it, but in order also within a millisecond."""
    made = str(await value(conn, "select pgdurable.new_response_id()"))
    return f"{made[:18]}{next(_number) % 4096:03x}{made[21:]}"


async def new_response(
    conn: Conn,
    *,
    response_id: str | None = None,
    principal: str = "",
    conversation: str | None = None,
    previous: str | None = None,
    key: str | None = None,
    background: bool = True,
    store: bool = True,
    metadata: bytes = b"{}",
    request: bytes = b'{"input":"hi"}',
    fields: bytes = b'{"model":"m"}',
) -> NewResponse:
    return NewResponse(
        response_id=response_id or await new_id(conn),
        principal=principal,
        conversation_id=conversation,
        previous_response_id=previous,
        idempotency_key=key,
        background=background,
        store=store,
        metadata=metadata,
        request=request,
        fields=fields,
    )


async def enqueue_all(
    conn: Conn,
    responses: Sequence[NewResponse],
    *,
    queue: str = "default",
    agent: str = "agent",
    max_attempts: int = 3,
    deadline: timedelta | None = None,
) -> list[EnqueuedResponse]:
    return await queries.enqueue_responses(
        conn,
        responses,
        queue=queue,
        agent=agent,
        max_attempts=max_attempts,
        deadline=deadline,
    )


async def enqueue(
    conn: Conn,
    *,
    queue: str = "default",
    agent: str = "agent",
    max_attempts: int = 3,
    deadline: timedelta | None = None,
    **columns: Any,
) -> str:
    """One response, queued; its id."""
    (enqueued,) = await enqueue_all(
        conn,
        [await new_response(conn, **columns)],
        queue=queue,
        agent=agent,
        max_attempts=max_attempts,
        deadline=deadline,
    )
    return enqueued.response_id


def claimant(
    worker: str = "a",
    *,
    queues: list[str] = QUEUES,
    agents: Sequence[str] = ("agent",),
    recovery: str = "prose",
    lease: timedelta = LEASE,
) -> Claimant:
    return Claimant(
        worker_id=worker,
        queues=queues,
        lease=lease,
        agents=list(agents),
        restarting=list(agents) if recovery == "restart" else [],
        keeping=list(agents) if recovery == "session" else [],
    )


async def claim(
    conn: Conn, worker: str = "a", *, limit: int = 100, **claims: Any
) -> list[ClaimedResponse]:
    return await queries.claim_responses(conn, claimant(worker, **claims), limit=limit)


async def start(conn: Conn, worker: str = "a", **columns: Any) -> ClaimedResponse:
    """One response, in progress."""
    await enqueue(conn, **columns)
    (claimed,) = await claim(conn, worker)
    return claimed


async def take_over(
    conn: Conn,
    worker: str = "b",
    *,
    limit: int = 100,
    running: Sequence[str] = (),
    **claims: Any,
) -> list[ClaimedResponse]:
    return await queries.take_over_responses(
        conn, claimant(worker, **claims), limit=limit, running=running
    )


async def append(
    conn: Conn, held: ClaimedResponse, *events: NewEvent, after: int | None = None
) -> WriteResult:
    """As the attempt that `held` is; `after` defaults to what the claim wrote."""
    last_seq = held.last_seq if after is None else after
    (result,) = await queries.append_events(
        conn,
        [Append(held.response_id, held.attempt, last_seq, events or (delta(),))],
        lease=LEASE,
    )
    return result


async def finish(
    conn: Conn,
    held: ClaimedResponse,
    status: Status = Status.COMPLETED,
    *,
    after: int | None = None,
) -> WriteResult:
    last_seq = held.last_seq if after is None else after
    (result,) = await queries.finish_responses(
        conn, [Finish(held.response_id, held.attempt, last_seq, terminal(status))]
    )
    return result


async def release(conn: Conn, held: ClaimedResponse) -> WriteResult:
    (result,) = await queries.release_responses(conn, attempts={held.response_id: held.attempt})
    return result


async def log_of(conn: Conn, response_id: str) -> list[Logged]:
    rows = await conn.execute(
        "select e.seq, e.attempt, e.type from pgdurable.events as e"
        " where e.response_id = %s order by e.seq",
        [response_id],
    )
    return [Logged(*row) for row in await rows.fetchall()]


async def types_of(conn: Conn, response_id: str) -> list[str]:
    return [event.type for event in await log_of(conn, response_id)]


async def last_event(conn: Conn, response_id: str) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(
        await value(
            conn,
            "select e.body::text from pgdurable.events as e"
            " where e.response_id = %s order by e.seq desc limit 1",
            response_id,
        )
    )
    return body


async def state(conn: Conn, response_id: str) -> dict[str, Any]:
    """The row of `responses`."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "select * from pgdurable.responses as r where r.response_id = %s", [response_id]
        )
        (row,) = await cursor.fetchall()
        return row


async def attempts_of(conn: Conn, response_id: str) -> list[tuple[Any, ...]]:
    """(attempt, worker, reason, resumed, outcome) of each."""
    rows = await conn.execute(
        "select a.attempt, a.worker_id, a.reason, a.resumed, a.outcome from pgdurable.attempts as a"
        " where a.response_id = %s order by a.attempt",
        [response_id],
    )
    return list(await rows.fetchall())


class Ended(NamedTuple):
    """A response that a takeover has ended, and the event that did."""

    response_id: str
    attempt: int
    status: Status
    last_seq: int
    event_type: str
    event: bytes


async def end_by_takeover(conn: Conn, **how: Any) -> list[Ended]:
    """Take over, and answer what ended instead; nothing else may have been there to take."""
    finished = "select array(select r.response_id from pgdurable.responses as r"
    before = await value(conn, finished + " where r.finished_at is not null)")
    assert await take_over(conn, **how) == []
    rows = await conn.execute(
        "select r.response_id, r.attempt, r.status, r.last_seq, e.type, e.body"
        " from pgdurable.responses as r"
        " join pgdurable.events as e on e.response_id = r.response_id and e.seq = r.last_seq"
        " where r.finished_at is not null and r.response_id <> all(%s)",
        [before],
    )
    return [Ended(*row)._replace(status=Status(row[2])) for row in await rows.fetchall()]
