"""Where handlers note that they started; every queue under test notes it the same way.

Used by our agent and by the peers' workers, so it needs nothing but the standard library. With
$BENCH_MARKS set to a path prefix, a process writes PREFIX.first.PID when its first handler starts,
and appends the pick-up latency in seconds to PREFIX.latency.PID for handlers that carry the instant
of their enqueueing (monotonic seconds, which all processes of a machine share).
"""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path
from typing import TextIO

_prefix = os.environ.get("BENCH_MARKS")
_started = False
_latencies: TextIO | None = None


def handler_started(sent_at: float | None) -> None:
    global _started, _latencies
    if _prefix is None:
        return
    now = time.monotonic()
    if not _started:
        _started = True
        Path(f"{_prefix}.first.{os.getpid()}").write_text(repr(now))
    if sent_at:
        if _latencies is None:
            _latencies = open(f"{_prefix}.latency.{os.getpid()}", "a", buffering=1)  # noqa: SIM115
        _latencies.write(f"{now - sent_at}\n")


def first_start(prefix: str) -> float | None:
    """When the first handler of all processes started, in monotonic seconds."""
    found = [Path(name).read_text() for name in glob.glob(f"{prefix}.first.*")]
    return min((float(text) for text in found if text), default=None)


def latencies(prefix: str) -> list[float]:
    """Pick-up latencies of all processes, in seconds."""
    names = glob.glob(f"{prefix}.latency.*")
    return [float(line) for name in names for line in Path(name).read_text().splitlines()]
