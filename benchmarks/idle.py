"""idle: readers of responses that say nothing: statements/s, CPU, memory and connections.

200 responses are held before their first event; 200 and 5,000 readers are spread over them. The
seed is measured with 200. Memory is what the server process grew by, per reader, and so includes
the 200 held responses themselves.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

from benchmarks.tools import ours, seed
from benchmarks.tools.client import EventStream, open_stream, post_request, tail_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target, connections, statements

RESPONSES = 200
READERS = (200, 5000)
SETTLING = 3.0
OPENED_AT_ONCE = 100
BARS = {
    (f"{readers} readers", "statements/s", ""): Bar("at_most", 2, of="ours") for readers in READERS
}


async def open_readers(target: Target, readers: int, responses: int) -> list[EventStream]:
    """One reader each by its POST, and the others, in turn, by GET."""
    post = post_request(stream=True, n=1, hold=3600)
    streams = await _open(target, [post] * min(readers, responses))
    if readers > responses:
        ids = await asyncio.gather(*(stream.response_id for stream in streams))
        tails = [tail_request(ids[number % responses]) for number in range(readers - responses)]
        streams += await _open(target, tails)
    return streams


async def _open(target: Target, requests: list[bytes]) -> list[EventStream]:
    streams: list[EventStream] = []
    for start in range(0, len(requests), OPENED_AT_ONCE):
        some = requests[start : start + OPENED_AT_ONCE]
        streams += await asyncio.gather(*(open_stream(target.address, each) for each in some))
    return streams


async def watch(
    cluster: Cluster, target: Target, readers: int, chosen: Options
) -> list[tuple[str, float]]:
    """Return (unit, value) pairs of one idle period."""
    memory = target.resident_bytes()
    streams = await open_readers(target, readers, RESPONSES)
    await asyncio.sleep(SETTLING)
    executed = await asyncio.to_thread(statements, target.dsn)
    server, postgres = target.cpu_seconds(), cluster.cpu_seconds()
    await asyncio.sleep(chosen.seconds)
    share = 100 / chosen.seconds
    figures = [
        ("server CPU %", (target.cpu_seconds() - server) * share),
        ("Postgres CPU %", max(0.0, cluster.cpu_seconds() - postgres) * share),
        ("statements/s", await _statements_since(target, executed) / chosen.seconds),
        ("KiB per reader", (target.resident_bytes() - memory) / readers / 1024),
        ("connections", float(await asyncio.to_thread(connections, target.dsn))),
    ]
    lost = sum(stream.ended.done() for stream in streams)
    if lost:
        raise RuntimeError(f"{lost} of {readers} readers were disconnected while idle")
    for stream in streams:
        stream.close()
    return figures


async def _statements_since(target: Target, executed: int) -> int:
    return await asyncio.to_thread(statements, target.dsn) - executed - 1  # the look itself is one


def _idle(cluster: Cluster, target: Target, readers: int, chosen: Options) -> Iterator[Reading]:
    count = min(readers, 200) if chosen.quick else readers
    for unit, value in run_async(watch(cluster, target, count, chosen)):
        yield Reading(f"{readers} readers", unit, value)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    for readers in READERS:
        with ours.serve(dsn, concurrency=2 * RESPONSES) as target:
            yield from _idle(cluster, target, readers, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _idle(cluster, target, READERS[0], chosen)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    compare(
        "idle", options(__doc__, seconds=8), {OURS: measure_ours, seed.NAME: measure_seed}, BARS
    )


if __name__ == "__main__":
    main()
