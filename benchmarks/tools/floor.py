"""The floor: what raw psycopg does with the same rows, the same fence and the same durability."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import orjson
import psycopg

BATCH = 100

TABLES = """
create table floor_responses (
  response_id text primary key,
  status text not null,
  attempt integer not null,
  last_seq bigint not null,
  lease_expires_at timestamptz not null
) with (fillfactor = 70);
create table floor_events (
  response_id text not null,
  seq bigint not null,
  attempt integer not null,
  type text not null,
  item_id text,
  body json not null,
  created_at timestamptz not null,
  primary key (response_id, seq)
);
"""

# One fenced statement, and so one commit, per batch: types and bodies are newline-joined text,
# which was the fastest of the forms that were tried.
APPEND = """
with owner as (
  update floor_responses as r
  set last_seq = r.last_seq + %(count)s
  where r.response_id = %(response_id)s and r.attempt = 1 and r.status = 'in_progress'
  returning r.response_id, r.attempt, r.last_seq - %(count)s as base
)
insert into floor_events (response_id, seq, attempt, type, body, created_at)
select o.response_id, o.base + t.n, o.attempt, t.type, b.body::json, now()
from owner as o,
  string_to_table(%(types)s, E'\\n') with ordinality as t (type, n)
  join string_to_table(%(bodies)s, E'\\n') with ordinality as b (body, n) using (n)
"""


def create(dsn: str, streams: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("drop table if exists floor_responses, floor_events")
        conn.execute(TABLES)
        conn.execute(
            "insert into floor_responses"
            " select 'resp_' || lpad(i::text, 32, '0'), 'in_progress', 1, 0,"
            " now() + interval '1 hour' from generate_series(0, %s) as i",
            [streams - 1],
        )


def append_rate(dsn: str, streams: int, seconds: float) -> float:
    """Return the events/s that one connection makes durable, in batches of one response each."""
    create(dsn, streams)
    types = "\n".join(["response.output_text.delta"] * BATCH)
    count = 0
    with psycopg.connect(dsn, autocommit=True) as conn:
        started = time.monotonic()
        while (now := time.monotonic()) - started < seconds:
            bodies = b"\n".join(_body(now, count + i) for i in range(BATCH)).decode()
            response_id = f"resp_{count // BATCH % streams:032}"
            conn.execute(
                APPEND,
                {"count": BATCH, "response_id": response_id, "types": types, "bodies": bodies},
            )
            count += BATCH
        return count / (time.monotonic() - started)


def _body(now: float, number: int) -> bytes:
    return orjson.dumps(
        {
            "type": "response.output_text.delta",
            "item_id": "msg_0123456789abcdef0123456789abcdef",
            "output_index": 0,
            "content_index": 0,
            "delta": f"{now!r}|{number}|12345|",
            "logprobs": [],
        }
    )


async def notify_round_trips(dsn: str, seconds: float, every: float = 0.05) -> Sequence[float]:
    """Seconds from an insert with NOTIFY, in one durable transaction, to its receipt.

    Paced like the streams that it is compared with, since an idle machine answers later.
    """
    writer = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    listener = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with writer, listener:
        await writer.execute("create table if not exists floor_hops (body json not null)")
        await listener.execute("listen floor")
        trips: list[float] = []
        reader = asyncio.create_task(_collect(listener, trips))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            now = time.monotonic()
            await writer.execute(
                "with event as (insert into floor_hops values (%s) returning body)"
                " select pg_notify('floor', %s) from event",
                [_body(now, 0).decode(), repr(now)],
            )
            await asyncio.sleep(every)
        reader.cancel()
    return trips


async def _collect(listener: psycopg.AsyncConnection[object], trips: list[float]) -> None:
    async for notification in listener.notifies():
        trips.append(time.monotonic() - float(notification.payload))
