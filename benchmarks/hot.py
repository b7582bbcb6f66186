"""hot: the share of updates to the state rows that stay heap-only (HOT) while 50 streams run.

Ours counts every update of `pgdurable.responses`: claims, appends, heartbeats and finishes, of
which claims and finishes leave a partial index and cannot be HOT. The seed's state rows are updated
by heartbeats and finishes only, and its index names the heartbeat.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg

from benchmarks.append import setting
from benchmarks.latency import EVERY, read_streams
from benchmarks.tools import ours, seed
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Reading
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

STREAMS = 50
# A backend reports its counts when it is idle, at most once a second.
REPORTED_SECONDS = 2.0
UPDATES = """
select s.n_tup_hot_upd, s.n_tup_upd
from pg_stat_user_tables as s
where s.schemaname || '.' || s.relname = %s
"""


def share(dsn: str, table: str, target: Target, chosen: Options) -> Iterator[Reading]:
    events = max(1, round(chosen.seconds / EVERY))
    run_async(read_streams(target, STREAMS, events))
    time.sleep(REPORTED_SECONDS)
    with psycopg.connect(dsn) as conn:
        row = conn.execute(UPDATES, [table]).fetchone()
    assert row is not None
    hot, updates = row
    yield Reading(setting(STREAMS), "updates/s", updates / chosen.seconds)
    yield Reading(setting(STREAMS), "% HOT", 100 * hot / max(1, updates))


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        yield from share(dsn, "pgdurable.responses", target, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from share(dsn, "agent_server.responses", target, chosen)


def main() -> None:
    contestants = {OURS: measure_ours, seed.NAME: measure_seed}
    compare("hot", options(__doc__, seconds=10), contestants, {})


if __name__ == "__main__":
    main()
