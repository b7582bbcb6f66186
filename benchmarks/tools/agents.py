"""The agent that our server runs in the benchmarks; the seed's copy is peers/seed_server.py.

The first input message is a JSON object that says what to do: {"n": events, "seconds": until,
"delay": seconds between events, "pad": bytes, "hold": seconds before the first event}, or, where
nothing is streamed, {"says": text}.
Every delta is `<monotonic seconds of the yield>|<number>|<process id>|<padding>`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.tools import marks
from pgdurable import LongRunningAgentServer, invoke, stream


def specification(request: Any) -> dict[str, Any]:
    content = request.input[0].content
    parsed: dict[str, Any] = json.loads(content)
    return parsed


@invoke()
async def nothing(request: Any) -> str:
    spec = specification(request)
    marks.handler_started(spec.get("sent_at"))
    return str(spec.get("says", ""))


@stream()
async def deltas(request: Any) -> AsyncIterator[str]:
    spec = specification(request)
    marks.handler_started(spec.get("sent_at"))
    limit, delay, pad = spec.get("n", 2**62), spec.get("delay", 0), "x" * spec.get("pad", 0)
    await asyncio.sleep(spec.get("hold", 0))
    due = time.monotonic()
    until = due + spec.get("seconds", 3600)
    for number in range(limit):
        if delay:
            due += delay
            await asyncio.sleep(max(0, due - time.monotonic()))
        now = time.monotonic()
        if now >= until:
            break
        yield f"{now!r}|{number}|{os.getpid()}|{pad}"


def _settings() -> dict[str, Any]:
    stale = os.environ.get("BENCH_STALE_SECONDS")
    if stale is None:
        return {}
    seconds = float(stale)
    return {
        "heartbeat_stale_threshold_seconds": seconds,
        "heartbeat_interval_seconds": seconds / 4,
    }


server = LongRunningAgentServer("ResponsesAgent", **_settings())
