"""recovery: SIGKILL of the process that runs the handler to the next attempt's first event.

Two processes share a database. With a reader, a client has the response open at the survivor; the
seed needs one, or a scan that comes every 15 to 45 s. Seconds are from the kill to the first yield
of attempt 2 that is stored; `stale=2s` shortens the time after which silence counts as death.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from benchmarks.tools import ours, seed
from benchmarks.tools.client import open_stream, start_response, tail_request
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading
from benchmarks.tools.harness import Options, compare, options, run_async
from benchmarks.tools.target import Target

EVERY = 0.1
PATIENCE = 90.0
STALE = {"defaults": None, "stale=2s": 2.0}
LEASE = (
    10.0  # seconds of silence after which a default process counts as dead, here and in the seed
)
BARS = {
    (f"{name}, {reader}", "s", ""): Bar("at_most", (stale or LEASE) + 1, of="ours")
    for name, stale in STALE.items()
    for reader in ("with a reader", "without a reader")
}


async def crash(first: Target, second: Target, with_reader: bool) -> float:
    """Return the seconds from the kill of `first` to the first event that `second` stored."""
    response_id = await start_response(first.address, n=10_000, delay=EVERY)
    await asyncio.sleep(2.0)
    killed_at = time.monotonic()
    first.child.kill()
    reader = None
    if with_reader:
        request = tail_request(response_id, second.log.first_cursor)
        reader = await open_stream(second.address, request)
    while time.monotonic() < killed_at + PATIENCE:
        stamp = await asyncio.to_thread(second.second_attempt_at, response_id)
        if stamp is not None:
            if reader is not None:
                reader.close()
            return stamp - killed_at
        await asyncio.sleep(0.05)
    raise TimeoutError(f"no second attempt within {PATIENCE} s: {second.child.output()[-2000:]}")


Serve = Callable[[float | None], AbstractContextManager[Target]]


def _crashes(serve: Serve, chosen: Options) -> Iterator[Reading]:
    for name, stale in STALE.items():
        if chosen.quick and stale is None:
            continue
        for with_reader in (True, False):
            with serve(stale) as first, serve(stale) as second:
                seconds = run_async(crash(first, second, with_reader))
            label = "with a reader" if with_reader else "without a reader"
            yield Reading(f"{name}, {label}", "s", seconds)


def measure_ours(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    ours.migrate(dsn)
    yield from _crashes(lambda stale: ours.serve(dsn, stale_seconds=stale), chosen)


def measure_seed(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
    if chosen.quick:
        return
    yield from _crashes(lambda stale: seed.serve(dsn, stale_seconds=stale), chosen)


def main() -> None:
    compare("recovery", options(__doc__), {OURS: measure_ours, seed.NAME: measure_seed}, BARS)


if __name__ == "__main__":
    main()
