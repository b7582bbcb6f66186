"""What every question does alike: options, interleaved runs on fresh databases, and publishing."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from benchmarks.peers import Unavailable
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Bar, Reading, Readings, Row

T = TypeVar("T")

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Options:
    """How long each reading lasts, how many runs there are, and where the result goes."""

    seconds: float
    runs: int
    quick: bool
    save: bool


Bars = Mapping[tuple[str, str, str], Bar]
Measure = Callable[[Cluster, str, Options], Iterable[Reading]]
"""Takes the cluster, the DSN of a fresh database and the options, and yields readings."""


def options(description: str | None, *, seconds: float = 5.0) -> Options:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=seconds, help="length of one reading")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run of one second: does it work?")
    parser.add_argument("--save", action="store_true", help="rewrite the committed result")
    given = parser.parse_args()
    # So that a terminated benchmark stops its cluster and its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if given.quick:
        return Options(seconds=1.0, runs=1, quick=True, save=False)
    return Options(seconds=given.seconds, runs=given.runs, quick=False, save=given.save)


def compare(question: str, chosen: Options, contestants: Mapping[str, Measure], bars: Bars) -> None:
    """Run every contestant `runs` times, in turn, each on a fresh database; print and publish."""
    readings = Readings()
    missing: set[str] = set()
    with Cluster() as cluster:
        machine = cluster.machine()
        for number in range(1, chosen.runs + 1):
            for name, measure in contestants.items():
                if name in missing:
                    continue
                try:
                    for reading in measure(cluster, cluster.fresh_database(), chosen):
                        readings.add(name, reading)
                        print(
                            f"run {number}  {name:<12} {reading.setting:<34} "
                            f"{reading.value:,.3f} {reading.unit}",
                            flush=True,
                        )
                except Unavailable as why:
                    missing.add(name)
                    print(f"skipped {name}: {why}", flush=True)
    if OURS in missing:
        raise SystemExit(f"{OURS} did not run, so there is nothing to compare")
    publish(question, chosen, readings.rows(dict(bars)), machine)


def publish(question: str, chosen: Options, rows: list[Row], machine: Mapping[str, str]) -> None:
    """Print the rows, and the result as one JSON object on the last line, which is also stored."""
    print(f"\n{question}: median (min-max) of {chosen.runs} runs; ratio = ours / yardstick")
    for row in rows:
        print(row)
    result: dict[str, Any] = {
        "question": question,
        "runs": chosen.runs,
        "seconds": chosen.seconds,
        "machine": dict(machine),
        "rows": [row.as_json() for row in rows],
    }
    line = json.dumps(result, ensure_ascii=False)
    if not chosen.quick:
        folder = RESULTS if chosen.save else RESULTS / "latest"
        folder.mkdir(exist_ok=True)
        (folder / f"{question}.json").write_text(
            json.dumps(result, ensure_ascii=False, indent=1) + "\n"
        )
    print(line, flush=True)


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a load generator on uvloop, so that the load stays cheap beside the server.

    A load that has stopped (a server that answers nothing) ends with TimeoutError after 10 minutes.
    """
    return uvloop.run(asyncio.wait_for(main, timeout=600))
