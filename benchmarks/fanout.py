"""fanout: one stream at 20 events/s with 100 and 1,000 readers: latency and statements/s.

Only events that were yielded after the last reader was connected count. The seed is measured with
100 readers only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.tools import ours, seed
from benchmarks.tools.client import open_stream, start_response, tail_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, percentile
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target, statements

EVERY = 0.05
READERS = (100, 1000)
SETTLING = 2.0
BARS = {
    ("100 readers", "ms p99", seed.NAME): Bar("at_most", 0.05),
    ("1000 readers", "ms p99", ""): Bar("at_most", 100, of="ours"),
}


async def read(target: Target, readers: int, seconds: float) -> tuple[list[float], float]:
    """Return the latencies of the live events in seconds, and the statements/s meanwhile."""
    latencies: list[float] = []
    started = float("inf")

    def on_stamp(received_at: float, yielded_at: float) -> None:
        if yielded_at > started:
            latencies.append(received_at - yielded_at)

    events = round((seconds + SETTLING) / EVERY)
    response_id = await start_response(target.address, n=events, delay=EVERY)
    request = tail_request(response_id, target.log.first_cursor)
    opened = [open_stream(target.address, request, on_stamp) for _ in range(readers)]
    streams = await asyncio.gather(*opened)
    while not all(stream.frames for stream in streams):
        await asyncio.sleep(0.01)
    before = await asyncio.to_thread(statements, target.dsn)
    started = time.monotonic()
    await asyncio.gather(*(stream.ended for stream in streams))
    seconds = time.monotonic() - started
    executed = await asyncio.to_thread(statements, target.dsn) - before
    if not latencies:
        raise RuntimeError("the stream was over before the last reader was connected")
    return latencies, executed / seconds


def _fan_out(target: Target, readers: int, chosen: Options) -> Iterator[Reading]:
    label = f"{readers} readers"
    latencies, executed = run_async(read(target, readers, chosen.seconds))
    yield Reading(label, "ms p50", percentile(latencies, 0.5) * 1e3)
    yield Reading(label, "ms p99", percentile(latencies, 0.99) * 1e3)
    yield Reading(label, "statements/s", executed)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        for readers in READERS:
            yield from _fan_out(target, readers, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _fan_out(target, READERS[0], chosen)


def main() -> None:
    compare(
        "fanout", options(__doc__, seconds=10), {OURS: measure_ours, seed.NAME: measure_seed}, BARS
    )


if __name__ == "__main__":
    main()
