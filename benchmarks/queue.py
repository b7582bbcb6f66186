"""queue: responses/s with a handler that does nothing, enqueued ahead; and the pick-up latency.

A response of ours that says nothing leaves three events, one of a single word nine.

The drain counts from the first handler's start until nothing waits or runs, with 1 and 2 worker
processes; start-up is not in it, acknowledging is. The pick-up is from before one enqueueing call,
in another process, to the handler's start, with one idle worker.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import LiteralString

import psycopg

from benchmarks.peers.queues import QUEUES, Queue
from benchmarks.tools import marks, ours
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, percentile
from benchmarks.tools.harness import Measure, Options, compare, options
from benchmarks.tools.process import Child

COUNT = 20_000
QUICK_COUNT = 200
SENT = 200
# The peers fetch and finish in batches of up to 500.
CONCURRENCY = 400
PROCESSES = (1, 2)
DRAIN = "responses/s"
BARS = {
    **{
        (f"drain, {processes} process{'es' * (processes > 1)}", DRAIN, peer): Bar("at_least", least)
        for processes in PROCESSES
        for peer, least in (("procrastinate", 1), ("dbos", 1), ("absurd", 1), ("pgqueuer", 0.5))
    },
    **{("pick-up", "ms p50", queue.name): Bar("at_most", 1) for queue in QUEUES},
}
StartWorker = Callable[[Mapping[str, str]], Child]


def drain(
    dsn: str, unfinished: LiteralString, count: int, processes: int, start: StartWorker
) -> float:
    """Start the workers, wait until all is done, return how many were done per second."""
    with ExitStack() as stack:
        prefix = stack.enter_context(_marks())
        workers = [stack.enter_context(start({"BENCH_MARKS": prefix})) for _ in range(processes)]
        deadline = time.monotonic() + 200
        with psycopg.connect(dsn, autocommit=True) as conn:
            while conn.execute(unfinished).fetchone() != (False,):
                if time.monotonic() > deadline or any(
                    w.process.poll() is not None for w in workers
                ):
                    raise RuntimeError(f"the drain did not end: {workers[0].output()[-2000:]}")
                time.sleep(0.02)
        ended_at = time.monotonic()
        started_at = marks.first_start(prefix)
    if started_at is None:
        raise RuntimeError("everything is done, but no handler has started")
    return count / (ended_at - started_at)


def pick_up(start: StartWorker, send: Callable[[], None], count: int) -> Iterator[Reading]:
    """Start one worker, let it settle, send one by one; yield the latency's percentiles."""
    with _marks() as prefix, start({"BENCH_MARKS": prefix}):
        time.sleep(6)  # until the slowest of them listens
        send()
        deadline = time.monotonic() + 10
        while len(marks.latencies(prefix)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        latencies = marks.latencies(prefix)
    if len(latencies) < count:
        raise RuntimeError(f"{len(latencies)} of {count} were picked up")
    yield Reading("pick-up", "ms p50", percentile(latencies, 0.5) * 1e3)
    yield Reading("pick-up", "ms p99", percentile(latencies, 0.99) * 1e3)


class _marks:
    """A path prefix in a folder of its own, removed at the end."""

    def __enter__(self) -> str:
        self._folder = Path(tempfile.mkdtemp(prefix="pgdurable-marks-"))
        return str(self._folder / "mark")

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _label(processes: int) -> str:
    return f"drain, {processes} process{'es' * (processes > 1)}"


def peer(queue: Queue) -> Measure:
    def call(command: str, dsn: str, count: int = 0) -> None:
        with Child(queue.argv(command, dsn, count), queue.env({})) as child:
            child.finish(timeout=300)

    def measure(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
        count = QUICK_COUNT if chosen.quick else queue.count
        sent = SENT // 10 if chosen.quick else SENT
        call("setup", dsn)
        for processes in PROCESSES:
            call("enqueue", dsn, count)
            rate = drain(
                dsn,
                queue.unfinished,
                count,
                processes,
                lambda env: Child(queue.argv("work", dsn), queue.env({**queue.drain, **env})),
            )
            yield Reading(_label(processes), DRAIN, rate)
        yield from pick_up(
            lambda env: Child(queue.argv("work", dsn), queue.env({**queue.pick_up, **env})),
            lambda: call("send", dsn, sent),
            sent,
        )

    return measure


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    count = QUICK_COUNT if chosen.quick else COUNT
    sent = SENT // 10 if chosen.quick else SENT
    ours.migrate(dsn)

    def work(env: Mapping[str, str]) -> Child:
        return ours.worker(dsn, concurrency=CONCURRENCY, env=env)

    for processes in PROCESSES:
        ours.enqueue(dsn, count)
        rate = drain(dsn, ours.UNFINISHED, count, processes, work)
        yield Reading(_label(processes), DRAIN, rate)
    ours.enqueue(dsn, count, says="ok")
    rate = drain(dsn, ours.UNFINISHED, count, 1, work)
    yield Reading("drain, a word each, 1 process", DRAIN, rate)
    yield from pick_up(work, lambda: ours.send(dsn, sent), sent)


def main() -> None:
    contestants = {OURS: measure_ours, **{queue.name: peer(queue) for queue in QUEUES}}
    compare("queue", options(__doc__), contestants, BARS)


if __name__ == "__main__":
    main()
