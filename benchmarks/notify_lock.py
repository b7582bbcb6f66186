"""notify_lock: how often a commit waits for the lock that all notifying commits share.

pg_stat_activity is sampled every 5 ms during `append` with 32 streams and 50 listening backends;
a sample counts when any backend waits on Lock/object. The yardstick is 32 connections that insert
and NOTIFY in the same transaction: it shows that the sampler sees the lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from benchmarks.append import append_rate
from benchmarks.tools import floor, ours
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading
from benchmarks.tools.harness import Options, compare, options

STREAMS = 32
LISTENERS = 50
EVERY = 0.005
IN_WRITE = "notify in the write"
LABEL = f"{STREAMS} streams, {LISTENERS} listeners"
UNIT = "% of samples"
BARS = {(LABEL, UNIT, ""): Bar("at_most", 0, of="ours")}

WAITING = """
select exists (
  select from pg_stat_activity as a
  where a.wait_event_type = 'Lock' and a.wait_event = 'object'
)
"""


class Sampler(threading.Thread):
    """Looks for backends that wait on Lock/object until it is told to stop."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._stop_asked = threading.Event()
        self._samples = 0
        self._waiting = 0

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._stop_asked.wait(EVERY):
                self._samples += 1
                self._waiting += conn.execute(WAITING).fetchone() == (True,)

    def share(self) -> float:
        """Stop, and return the percentage of samples that saw a waiter."""
        self._stop_asked.set()
        self.join()
        return 100 * self._waiting / max(1, self._samples)


@contextmanager
def listeners(dsn: str) -> Generator[None]:
    """Backends that listen on the channel that our readers use."""
    with ExitStack() as stack:
        for _ in range(LISTENERS):
            conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            conn.execute("listen pgdurable_tail")
        yield


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target, listeners(dsn):
        sampler = Sampler(dsn)
        sampler.start()
        append_rate(target, STREAMS, chosen.seconds)
        yield Reading(LABEL, UNIT, sampler.share())


def measure_in_write(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    floor.create(dsn, STREAMS)
    with listeners(dsn):
        sampler = Sampler(dsn)
        sampler.start()
        until = time.monotonic() + chosen.seconds
        writers = [
            threading.Thread(target=_insert_and_notify, args=(dsn, number, until))
            for number in range(STREAMS)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        yield Reading(LABEL, UNIT, sampler.share())


def _insert_and_notify(dsn: str, number: int, until: float) -> None:
    response_id = f"resp_{number:032}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        seq = 0
        while time.monotonic() < until:
            conn.execute(
                "with event as (insert into floor_events"
                " values (%s, %s, 1, 'delta', null, '{}', now()) returning response_id)"
                " select pg_notify('pgdurable_tail', response_id) from event",
                [response_id, seq],
            )
            seq += 1


def main() -> None:
    contestants = {OURS: measure_ours, IN_WRITE: measure_in_write}
    compare("notify_lock", options(__doc__), contestants, BARS)


if __name__ == "__main__":
    main()
