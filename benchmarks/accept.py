"""accept: POSTs in the background with a handler that says one word, from 16 and 64 clients.

Accepted/s counts answers while the clients post; completed/s counts until the last response is
seen finished.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.tools import ours, seed
from benchmarks.tools.client import open_poster, post_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, percentile
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

CLIENTS = (16, 64)
BARS = {
    (f"{clients} clients", unit, seed.NAME): bar
    for clients in CLIENTS
    for unit, bar in (
        ("accepted/s", Bar("at_least", 10)),
        ("completed/s", Bar("at_least", 10)),
        ("ms p99", Bar("at_most", 0.1)),
    )
}


async def post_for(target: Target, clients: int, seconds: float) -> list[float]:
    """Post from every client, one request after the other; return each answer's seconds."""
    request = post_request(stream=False, says="ok")  # what the other one says, too
    latencies: list[float] = []
    posters = await asyncio.gather(*(open_poster(target.address) for _ in range(clients)))
    until = time.monotonic() + seconds

    async def post(number: int) -> None:
        poster = posters[number]
        while (sent_at := time.monotonic()) < until:
            status, body = await poster.post(request)
            if status not in (200, 202):
                raise RuntimeError(f"POST /responses answered {status}: {body[:500]!r}")
            latencies.append(time.monotonic() - sent_at)
        poster.close()

    await asyncio.gather(*(post(number) for number in range(clients)))
    return latencies


def _rates(target: Target, chosen: Options) -> Iterator[Reading]:
    for clients in CLIENTS:
        label = f"{clients} clients"
        started = time.monotonic()
        latencies = run_async(post_for(target, clients, chosen.seconds))
        accepted_at = time.monotonic()
        finished_at = target.wait_until_finished()
        yield Reading(label, "accepted/s", len(latencies) / (accepted_at - started))
        yield Reading(label, "completed/s", len(latencies) / (finished_at - started))
        yield Reading(label, "ms p50", percentile(latencies, 0.5) * 1e3)
        yield Reading(label, "ms p99", percentile(latencies, 0.99) * 1e3)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    with ours.serve(dsn) as target:
        yield from _rates(target, chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    with seed.serve(dsn) as target:
        yield from _rates(target, chosen)


def main() -> None:
    compare("accept", options(__doc__), {OURS: measure_ours, seed.NAME: measure_seed}, BARS)


if __name__ == "__main__":
    main()
