"""append: events/s made durable by one process, with 1, 8 and 32 streams that yield without delay.

Streams of at most 10,000 events each are started together, again and again until the time is up.
The clock runs from the first yield of a round to the instant when every response of it is seen
finished. Only deltas count; closing the message and the response costs time, but adds nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from benchmarks.peers.script import ask
from benchmarks.tools import floor, ours, seed
from benchmarks.tools.client import start_response
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

STREAMS = (1, 8, 32)
EVENTS = 10_000
UNIT = "events/s"
BARS = {
    ("32 streams", UNIT, seed.NAME): Bar("at_least", 60),
    ("32 streams", UNIT, "floor"): Bar("at_least", 0.6),
    ("1 stream", UNIT, seed.NAME): Bar("at_least", 30),
}


def setting(streams: int) -> str:
    return "1 stream" if streams == 1 else f"{streams} streams"


async def start_streams(target: Target, streams: int, seconds: float) -> list[str]:
    starts = [start_response(target.address, n=EVENTS, seconds=seconds) for _ in range(streams)]
    return list(await asyncio.gather(*starts))


def append_rate(target: Target, streams: int, seconds: float) -> float:
    """Events/s, from each round's first yield until all of it is seen finished."""
    events, busy = 0, 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        response_ids = run_async(start_streams(target, streams, seconds))
        finished_at = target.wait_until_finished(response_ids)
        count, first_at = target.stored_deltas(response_ids)
        events += count
        busy += finished_at - first_at
    return events / busy


def _rates(target: Target, chosen: Options) -> Iterator[Reading]:
    for streams in STREAMS:
        yield Reading(setting(streams), UNIT, append_rate(target, streams, chosen.seconds))


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        yield from _rates(target, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _rates(target, chosen)


def measure_floor(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    for streams in STREAMS:
        yield Reading(setting(streams), UNIT, floor.append_rate(dsn, streams, chosen.seconds))


def measure_dbos(cluster: Cluster, dsn: str, chosen: Options) -> Iterable[Reading]:
    streams = [str(number) for number in STREAMS]
    rates = ask("dbos", "dbos_streams", dsn, str(chosen.seconds), *streams)
    return [Reading(setting(number), UNIT, rates[str(number)]) for number in STREAMS]


def main() -> None:
    contestants = {
        OURS: measure_ours,
        "floor": measure_floor,
        seed.NAME: measure_seed,
        "dbos": measure_dbos,
    }
    compare("append", options(__doc__), contestants, BARS)


if __name__ == "__main__":
    main()
