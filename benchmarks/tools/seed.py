"""The seed under load: its released package, in its own venv, on plain Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers import python_of
from benchmarks.tools.client import Address
from benchmarks.tools.cluster import free_port
from benchmarks.tools.process import Child
from benchmarks.tools.target import Log, Target

NAME = "seed"

LOG = Log(
    unfinished="""
        select exists (
          select from agent_server.responses as r
          where r.response_id = any(%s) and r.status = 'in_progress'
        )
        """,
    all_unfinished="""
        select exists (select from agent_server.responses as r where r.status = 'in_progress')
        """,
    deltas="""
        select
          count(*),
          min(split_part(m.stream_event::json ->> 'delta', '|', 1)::double precision)
        from agent_server.messages as m
        where m.response_id = any(%s) and m.stream_event::json ->> 'delta' is not null
        """,
    second_attempt="""
        select split_part(m.stream_event::json ->> 'delta', '|', 1)
        from agent_server.messages as m
        where m.response_id = %s and m.attempt_number = 2
          and m.stream_event::json ->> 'delta' is not null
        order by m.sequence_number
        limit 1
        """,
    first_cursor=0,
)


@contextmanager
def serve(dsn: str, *, stale_seconds: float | None = None) -> Iterator[Target]:
    """Serve the same agent from one process of the seed, with the seed's defaults."""
    port = free_port()
    argv = [python_of("seed"), "-m", "benchmarks.peers.seed_server", dsn, str(port)]
    if stale_seconds is not None:
        argv.append(str(stale_seconds))
    with Child(argv) as child:
        child.wait_for_http(f"http://127.0.0.1:{port}/health")
        yield Target(Address("127.0.0.1", port), child, dsn, LOG)
