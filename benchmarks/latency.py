"""latency: handler yield to client receipt, with 1 and 50 streams at 20 events/s each.

The client POSTs in the background with stream and reads the answer; it is another process than the
server. The floor is an insert with NOTIFY in one durable transaction and its receipt by a listener.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.append import setting
from benchmarks.tools import floor, ours, seed
from benchmarks.tools.client import open_stream, post_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, percentile
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

STREAMS = (1, 50)
EVERY = 0.05
FLOOR = "insert + notify"
BARS = {
    ("1 stream", "ms p50", FLOOR): Bar("at_most", 3),
    ("50 streams", "events/s", ""): Bar("at_least", 990, of="ours"),
    ("50 streams", "ms p99", ""): Bar("at_most", 50, of="ours"),
}


async def read_streams(target: Target, streams: int, events: int) -> tuple[list[float], float]:
    """Return every event's latency in seconds, and how long the whole took."""
    latencies: list[float] = []

    def on_stamp(received_at: float, yielded_at: float) -> None:
        latencies.append(received_at - yielded_at)

    request = post_request(stream=True, n=events, delay=EVERY)
    started = time.monotonic()
    opened = [open_stream(target.address, request, on_stamp) for _ in range(streams)]
    readers = await asyncio.gather(*opened)
    await asyncio.gather(*(reader.ended for reader in readers))
    broken = sum(not reader.is_complete for reader in readers)
    if broken:
        raise RuntimeError(f"{broken} of {streams} streams ended without [DONE]")
    return latencies, time.monotonic() - started


def _latencies(target: Target, chosen: Options) -> Iterator[Reading]:
    events = max(1, round(chosen.seconds / EVERY))
    for streams in STREAMS:
        latencies, seconds = run_async(read_streams(target, streams, events))
        yield from in_milliseconds(setting(streams), latencies)
        # Late streams stretch the time; what is on time is delivered at 20 events/s per stream.
        on_time = max(seconds, events * EVERY)
        yield Reading(setting(streams), "events/s", len(latencies) / on_time)


def in_milliseconds(label: str, latencies: list[float]) -> Iterator[Reading]:
    yield Reading(label, "ms p50", percentile(latencies, 0.5) * 1e3)
    yield Reading(label, "ms p99", percentile(latencies, 0.99) * 1e3)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        yield from _latencies(target, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _latencies(target, chosen)


def measure_floor(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    trips = run_async(floor.notify_round_trips(dsn, chosen.seconds, EVERY))
    yield from in_milliseconds(setting(1), list(trips))


def main() -> None:
    contestants = {OURS: measure_ours, FLOOR: measure_floor, seed.NAME: measure_seed}
    compare("latency", options(__doc__, seconds=10), contestants, BARS)


if __name__ == "__main__":
    main()
