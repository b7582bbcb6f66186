"""growth: append rate, claim p99 and replay with 0, 1 and 10 million stored events.

The yardstick is ourselves on an empty log. Stored responses have 100 events each and are finished.
The last round is run with a snapshot that was opened before it and is held.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext

import psycopg

from benchmarks.append import append_rate
from benchmarks.replay import EVENTS, finished_response, read_all
from benchmarks.tools import ours
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, Readings, percentile
from benchmarks.tools.harness import Options, options, publish, run_async

EMPTY = "empty log"
LEVELS = {"1 million": 1_000_000, "10 million": 10_000_000}
QUICK_LEVELS = {"10 thousand": 10_000}
PER_RESPONSE = 100
STREAMS = 32
CLAIMS = 500
FLAT = 1.5
APPEND, CLAIM, REPLAY = "append, events/s", "claim, ms p99", "replay, events/s"

# Ids sort before every new one, as older UUIDv7 do.
STORE_RESPONSES = """
with new as (
  insert into pgdurable.responses (
    response_id, status, attempt, last_seq, available_at, created_at, started_at, finished_at
  )
  select
    'resp_' || lpad(to_hex(i), 32, '0'), 'completed', 1, %(events)s::integer - 1,
    now(), now(), now(), now()
  from generate_series(%(first)s::integer, %(last)s::integer) as i
  returning response_id
)
insert into pgdurable.requests (response_id, body, fields)
select n.response_id, '{"input":"stored"}', '{"model":"agent"}' from new as n
"""
STORE_EVENTS = """
insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
select 'resp_' || lpad(to_hex(i), 32, '0'), s, 1, 'response.output_text.delta', %(body)s, now()
from generate_series(%(first)s::integer, %(last)s::integer) as i
cross join generate_series(0, %(events)s::integer - 1) as s
"""
BODY = (
    '{"type":"response.output_text.delta","item_id":"msg_0123456789abcdef0123456789abcdef",'
    '"output_index":0,"content_index":0,"delta":"' + "x" * 30 + '","logprobs":[]}'
)


def store(dsn: str, already: int, events: int) -> None:
    """Bring the number of stored events from `already` to `events`, and analyze."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for first in range(already // PER_RESPONSE + 1, events // PER_RESPONSE + 1, 5000):
            last = min(first + 4999, events // PER_RESPONSE)
            rows = {"first": first, "last": last, "events": PER_RESPONSE, "body": BODY}
            conn.execute(STORE_RESPONSES, rows)
            conn.execute(STORE_EVENTS, rows)
        conn.execute("vacuum analyze")
        conn.execute("checkpoint")


def claim_p99(dsn: str, count: int) -> float:
    """Claim one response at a time; return the 99th percentile in milliseconds."""
    ours.enqueue(dsn, count)
    seconds: list[float] = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        for _ in range(count):
            started = time.monotonic()
            row = conn.execute(
                "select pgdurable.claim_responses("
                "p_worker_id => 'bench', p_queues => array['default'], p_limit => 1,"
                " p_lease => interval '1 hour', p_agents => array['agent'])"
            ).fetchone()
            seconds.append(time.monotonic() - started)
            assert row is not None, "nothing was there to claim"
    return percentile(seconds, 0.99) * 1e3


def round_of(dsn: str, chosen: Options) -> Iterator[tuple[str, float]]:
    """One reading of each question, as (unit, value)."""
    with ours.serve(dsn) as target:
        yield APPEND, append_rate(target, STREAMS, chosen.seconds)
        response_id = finished_response(target, 500 if chosen.quick else EVENTS)
        rate, _ = run_async(read_all(target, response_id, 1))
        yield REPLAY, rate
    yield CLAIM, claim_p99(dsn, CLAIMS)


def labels(levels: dict[str, int]) -> list[str]:
    return [f"{name} stored" for name in levels] + [f"{list(levels)[-1]} stored, old snapshot"]


def one_run(dsn: str, chosen: Options, levels: dict[str, int], readings: Readings) -> None:
    ours.migrate(dsn)
    for unit, value in round_of(dsn, chosen):
        print(f"{EMPTY:<34} {value:,.3f} {unit}", flush=True)
        for label in labels(levels):
            readings.add(EMPTY, Reading(label, unit, value))
    already = 0
    for label, events in zip(labels(levels), [*levels.values(), None], strict=True):
        if events is not None:
            store(dsn, already, events)
            already = events
        with psycopg.connect(dsn) if events is None else nullcontext() as conn:
            if conn is not None:
                conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                conn.execute("select count(*) from pgdurable.workers")
            for unit, value in round_of(dsn, chosen):
                print(f"{label:<34} {value:,.3f} {unit}", flush=True)
                readings.add(OURS, Reading(label, unit, value))


def main() -> None:
    chosen = options(__doc__)
    levels = QUICK_LEVELS if chosen.quick else LEVELS
    readings = Readings()
    for _ in range(chosen.runs):
        with Cluster() as cluster:
            machine = cluster.machine()
            one_run(cluster.fresh_database(), chosen, levels, readings)
    bars = {
        (label, unit, EMPTY): bar
        for label in labels(levels)
        for unit, bar in (
            (APPEND, Bar("at_least", 1 / FLAT)),
            (REPLAY, Bar("at_least", 1 / FLAT)),
            (CLAIM, Bar("at_most", FLAT)),
        )
    }
    publish("growth", chosen, readings.rows(bars), machine)


if __name__ == "__main__":
    main()
