"""pgdurable under load: migrate a database, start `pgdurable run` on it, ask its tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.tools.client import Address
from benchmarks.tools.cluster import free_port
from benchmarks.tools.process import Child
from benchmarks.tools.target import Log, Target

AGENT = "benchmarks.tools.agents:server"

FIELDS = {"background": True, "metadata": {}, "model": "agent", "tools": []}

UNFINISHED = """
select exists (select from pgdurable.responses as r where r.status = 'queued')
  or exists (select from pgdurable.responses as r where r.status = 'in_progress')
"""

ENQUEUE = """
with new as materialized (
  select array_agg(pgdurable.new_response_id()) as ids from generate_series(1, %(size)s)
)
select e.response_id
from new as n
cross join lateral pgdurable.enqueue_responses(
  p_response_ids          => n.ids,
  p_principals            => array_fill(''::text, array[%(size)s]),
  p_conversation_ids      => array_fill(null::text, array[%(size)s]),
  p_previous_response_ids => array_fill(null::text, array[%(size)s]),
  p_idempotency_keys      => array_fill(null::text, array[%(size)s]),
  p_background            => array_fill(true, array[%(size)s]),
  p_store                 => array_fill(true, array[%(size)s]),
  p_metadata              => rtrim(repeat('{}' || E'\n', %(size)s), E'\n'),
  p_requests              => rtrim(repeat(%(request)s || E'\n', %(size)s), E'\n'),
  p_fields                => rtrim(repeat(%(fields)s || E'\n', %(size)s), E'\n')
) as e
"""

LOG = Log(
    unfinished="""
        select exists (
          select from pgdurable.responses as r
          where r.response_id = any(%s) and r.status in ('queued', 'in_progress')
        )
        """,
    all_unfinished=UNFINISHED,
    deltas="""
        select count(*), min(split_part(e.body ->> 'delta', '|', 1)::double precision)
        from pgdurable.events as e
        where e.response_id = any(%s) and e.type = 'response.output_text.delta'
        """,
    second_attempt="""
        select split_part(e.body ->> 'delta', '|', 1)
        from pgdurable.events as e
        where e.response_id = %s and e.attempt = 2 and e.type = 'response.output_text.delta'
        order by e.seq
        limit 1
        """,
    first_cursor=None,
)


def pgdurable(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("pgdurable")), *arguments]


def migrate(dsn: str) -> None:
    with Child(pgdurable("migrate", "--dsn", dsn)) as child:
        child.finish(timeout=60)


@contextmanager
def serve(
    dsn: str, *, concurrency: int = 64, stale_seconds: float | None = None
) -> Iterator[Target]:
    """Serve the benchmark agent from one process, server and worker together."""
    port = free_port()
    argv = pgdurable(
        "run", AGENT, "--dsn", dsn, "--host", "127.0.0.1", "--port", str(port),
        "--concurrency", str(concurrency),
    )  # fmt: skip
    env = {} if stale_seconds is None else {"BENCH_STALE_SECONDS": str(stale_seconds)}
    with Child(argv, env) as child:
        child.wait_for_http(f"http://127.0.0.1:{port}/health")
        yield Target(Address("127.0.0.1", port), child, dsn, LOG)


def worker(dsn: str, *, concurrency: int, env: Mapping[str, str]) -> Child:
    """A process that only works, without a server, and logs as little as the peers do."""
    argv = pgdurable(
        "run", AGENT, "--dsn", dsn, "--no-server", "--concurrency", str(concurrency),
        "--log-level", "warning",
    )  # fmt: skip
    return Child(argv, env)


def enqueue(dsn: str, count: int, *, says: str = "") -> list[str]:
    """Enqueue that many no-ops ahead, 1,000 per commit, as the server would; return their ids."""
    request = json.dumps(_request(sent_at=0, says=says))
    ids: list[str] = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        for start in range(0, count, 1000):
            size = min(1000, count - start)
            rows = conn.execute(
                ENQUEUE, {"size": size, "request": request, "fields": json.dumps(FIELDS)}
            ).fetchall()
            ids.extend(row[0] for row in rows)
    return ids


def send(dsn: str, count: int) -> None:
    """Enqueue no-ops one at a time, 50 ms apart, as a person would, from this process."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for _ in range(count):
            request = json.dumps(_request(sent_at=time.monotonic()))
            conn.execute("select pgdurable.enqueue_response(%s::json)", [request])
            time.sleep(0.05)


def _request(**spec: float | str) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": json.dumps(spec)}], "background": True}
