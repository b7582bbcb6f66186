"""replay: events/s of a finished response of 10,000 events, read by 1 and by 8 clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.tools import ours, seed
from benchmarks.tools.client import open_stream, start_response, tail_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

EVENTS = 10_000
CLIENTS = (1, 8)
BARS = {
    (f"{clients} client{'s' * (clients > 1)}", "events/s", seed.NAME): Bar("at_least", 8)
    for clients in CLIENTS
}


async def read_all(target: Target, response_id: str, clients: int) -> tuple[float, float]:
    """Return events/s over all clients, and the slowest client's seconds to the first byte."""
    request = tail_request(response_id, target.log.first_cursor)
    started = time.monotonic()
    opened = [open_stream(target.address, request) for _ in range(clients)]
    streams = await asyncio.gather(*opened)
    await asyncio.gather(*(stream.ended for stream in streams))
    seconds = time.monotonic() - started
    if not all(stream.is_complete for stream in streams):
        raise RuntimeError("a replay ended without [DONE]")
    frames = sum(stream.frames for stream in streams)
    return frames / seconds, max(stream.first_at for stream in streams) - started


def finished_response(target: Target, events: int) -> str:
    response_id = run_async(start_response(target.address, n=events))
    target.wait_until_finished([response_id])
    return response_id


def _replays(target: Target, chosen: Options) -> Iterator[Reading]:
    response_id = finished_response(target, 500 if chosen.quick else EVENTS)
    for clients in CLIENTS:
        label = f"{clients} client{'s' * (clients > 1)}"
        rate, first_at = run_async(read_all(target, response_id, clients))
        yield Reading(label, "events/s", rate)
        yield Reading(label, "ms to first byte", first_at * 1e3)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        yield from _replays(target, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _replays(target, chosen)


def main() -> None:
    compare("replay", options(__doc__), {OURS: measure_ours, seed.NAME: measure_seed}, BARS)


if __name__ == "__main__":
    main()
