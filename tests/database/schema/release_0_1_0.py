"""Processes of release 0.1.0: its schema, and sessions that call it with its own statements.

`0_1_0.sql` is what the migrator of that release printed, without comments. The statements are
worded, and repeated after an error, as its runtime did it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

Row = dict[str, Any]
SCHEMA = (Path(__file__).parent / "0_1_0.sql").read_bytes()
LEASE = timedelta(seconds=30)
# What its dataclass takes: a column more or less, and the row could not be read.
CLAIMED = [
    "response_id",
    "attempt",
    "status",
    "last_seq",
    "event_type",
    "event",
    "principal",
    "created_at",
    "conversation_id",
    "base_conversation_id",
    "request",
    "fields",
    "resumed",
    "deadline_at",
]

ENQUEUE: LiteralString = """
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
CLAIM: LiteralString = """
select * from pgdurable.claim_responses(
  p_worker_id => %(worker_id)s,
  p_queues    => %(queues)s,
  p_limit     => %(limit)s::integer,
  p_lease     => %(lease)s
)
"""
TAKE_OVER: LiteralString = CLAIM.replace("claim_responses", "take_over_responses")
HEARTBEAT: LiteralString = """
select * from pgdurable.heartbeat(
  p_worker_id    => %(worker_id)s,
  p_response_ids => %(response_ids)s::text[],
  p_attempts     => %(attempts)s::integer[],
  p_lease        => %(lease)s
)
"""
APPEND: LiteralString = """
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
FINISH: LiteralString = """
select * from pgdurable.finish_responses(
  p_response_ids => %(f_response_ids)s::text[],
  p_attempts     => %(f_attempts)s::integer[],
  p_last_seqs    => %(f_last_seqs)s::bigint[],
  p_statuses     => %(f_statuses)s::text[],
  p_types        => %(f_types)s,
  p_bodies       => %(f_bodies)s
)
"""
APPEND_AND_FINISH: LiteralString = f"{APPEND} union all {FINISH}"
RELEASE: LiteralString = """
select * from pgdurable.release_responses(
  p_response_ids => %(response_ids)s::text[],
  p_attempts     => case
    when set_config('lock_timeout', %(lock_timeout)s, true) is not null
    then %(attempts)s::integer[]
  end
)
"""
TERMINAL = {"completed": "response.completed", "failed": "response.failed"}


def install(dsn: str) -> None:
    """The schema of 0.1.0 in an empty database."""
    with psycopg.connect(dsn) as conn:
        conn.execute(SCHEMA)


class Session:
    """One worker of 0.1.0 that does everything, one statement after the other.

    `acknowledged` is the highest number of an event of a response that it was told is stored.
    """

    def __init__(self, conn: AsyncConnection[Any], name: str) -> None:
        self.conn = conn
        self.name = name
        self.rounds = 0
        self.repeated: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.held: dict[str, tuple[int, int]] = {}
        self._number = itertools.count()

    async def call(self, statement: LiteralString, **args: Any) -> list[Row]:
        """An outage or a lock is waited out, and a function that was replaced is called again.

        Claims, takeovers and heartbeats are called again whatever it was.
        """
        repeats = statement in (CLAIM, TAKE_OVER, HEARTBEAT)
        replaced = 0
        while True:
            try:
                async with self.conn.cursor(row_factory=dict_row) as cursor:
                    await cursor.execute(statement, args)
                    return await cursor.fetchall()
            except psycopg.Error as exc:
                replaced += isinstance(exc, psycopg.errors.InternalError_)
                known = isinstance(exc, psycopg.OperationalError | psycopg.errors.InternalError_)
                if not (known or repeats) or replaced > 1:
                    raise
                self.repeated.append(f"{exc.sqlstate} in {statement.split('(')[0].split('.')[-1]}")
                await asyncio.sleep(0.05)

    async def enqueue(self, *, key: str | None = None, conversation: str | None = None) -> str:
        response_id = await self.conn.execute("select pgdurable.new_response_id()")
        (made,) = await response_id.fetchone() or ("",)
        made = made[:20] + secrets.token_hex(10)[: len(made) - 20]
        (enqueued,) = await self.call(
            ENQUEUE,
            response_ids=f"{{{made}}}",
            principals=[""],
            conversation_ids=[conversation],
            previous_response_ids=[None],
            idempotency_keys=[key],
            background="{true}",
            store="{true}",
            metadata="{}",
            requests='{"input":"hi"}',
            fields='{"model":"agent"}',
            queue="default",
            agent="agent",
            max_attempts=3,
            deadline=None,
        )
        assert (enqueued["response_id"], enqueued["outcome"]) == (made, "created")
        self.acknowledged[made] = 0
        return str(made)

    async def claim(self, limit: int = 1, statement: LiteralString = CLAIM) -> list[str]:
        """What it holds from now on."""
        found = await self.call(
            statement, worker_id=self.name, queues=["default"], limit=limit, lease=LEASE
        )
        claimed = [row for row in found if row["status"] == "in_progress"]
        for row in claimed:
            assert list(row) == CLAIMED
            self.held[row["response_id"]] = row["attempt"], row["last_seq"]
        return [row["response_id"] for row in claimed]

    async def heartbeat(self) -> None:
        results = await self.call(
            HEARTBEAT,
            worker_id=self.name,
            response_ids=_array(self.held),
            attempts=_array(attempt for attempt, _ in self.held.values()),
            lease=LEASE,
        )
        assert {row["outcome"] for row in results} <= {"ok", "busy"}

    async def append(self, response_id: str, count: int = 2, *, finish: str | None = None) -> None:
        """Its writer's flush, of one response."""
        attempt, last_seq = self.held[response_id]
        append = {
            "a_response_ids": _array([response_id]),
            "a_attempts": _array([attempt]),
            "a_last_seqs": _array([last_seq]),
            "a_counts": _array([count]),
            "a_types": "\n".join(["response.output_text.delta"] * count),
            "a_item_ids": "\n".join([""] * count),
            "a_bodies": "\n".join(['{"type":"response.output_text.delta"}'] * count),
            "a_lease": LEASE,
            "lock_timeout": "500",
        }
        end = {
            "f_response_ids": _array([response_id]),
            "f_attempts": _array([attempt]),
            "f_last_seqs": _array([last_seq + count]),
            "f_statuses": _array([finish]),
            "f_types": TERMINAL.get(finish or "", "response.incomplete"),
            "f_bodies": f'{{"type":"{TERMINAL.get(finish or "", "response.incomplete")}"}}',
        }
        if finish is None:
            results = await self.call(APPEND, **append)
            self.held[response_id] = attempt, last_seq + count
        else:
            results = await self.call(APPEND_AND_FINISH, **append, **end)
            del self.held[response_id]
        assert {row["outcome"] for row in results} == {"ok"}, results
        self.acknowledged[response_id] = last_seq + count + (finish is not None)

    async def release(self, response_id: str) -> None:
        attempt, _ = self.held.pop(response_id)
        (result,) = await self.call(
            RELEASE,
            response_ids=_array([response_id]),
            attempts=_array([attempt]),
            lock_timeout="500",
        )
        assert result["outcome"] == "ok"

    async def work(self, stop: asyncio.Event) -> None:
        """Rounds of everything; what it holds at the beginning, it holds in the end."""
        kept = list(self.held)
        while not stop.is_set():
            await self.enqueue(key=f"{self.name}-{next(self._number)}")
            claimed = await self.claim(2)
            await self.heartbeat()
            for response_id in kept:
                await self.append(response_id)
            for response_id in claimed:
                await self.append(response_id)
            for response_id in claimed[1:]:
                await self.release(response_id)
            for response_id in claimed[:1]:
                await self.append(response_id, finish="completed")
            for response_id in await self.claim(1, TAKE_OVER):
                await self.append(response_id, finish="failed")
            self.rounds += 1


def _array(values: Any) -> str:
    return f"{{{','.join(map(str, values))}}}"
