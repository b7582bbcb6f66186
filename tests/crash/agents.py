"""The agent that the crash tests run: the last message says what it does.

`pgdurable run tests.crash.agents:server`. In the environment: CRASH_SETTINGS, settings as JSON;
CRASH_MARKS, a folder where each attempt leaves a file when it is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pgdurable import Agent, AgentRequest, Context, LongRunningAgentServer
from pgdurable.database import connections
from pgdurable.events import listener, writer
from pgdurable.worker import loop

QUICK = {
    "heartbeat_interval_seconds": 0.3,
    "heartbeat_stale_threshold_seconds": 1.2,
    "stale_scan_interval_seconds": 0.3,
    "poll_interval_seconds": 0.2,
    "drain_timeout_seconds": 0.3,
    "db_statement_timeout_ms": 500,
    "cleanup_timeout_seconds": 2.0,
}

_given: dict[str, Any] = json.loads(os.environ.get("CRASH_SETTINGS", "{}"))
agent = Agent("crash", recovery=_given.pop("recovery", "prose"))
# The deaf and the silent are found out sooner than in real life, where a test would wait long.
listener.CHECK_SECONDS = _given.pop("check_seconds", listener.CHECK_SECONDS)
_answer_seconds = _given.pop("answer_seconds", connections.ANSWER_SECONDS)
connections.answered.__wrapped__.__defaults__ = (_answer_seconds,)  # type: ignore[attr-defined]
# Looks for expired leases before the heartbeats of the living are back.
loop.MAX_BACKOFF_SECONDS = _given.pop("scan_backoff_seconds", loop.MAX_BACKOFF_SECONDS)
if _given.pop("broken_writer", False):
    writer.Writer._conclude = None  # type: ignore[assignment,method-assign]
server = LongRunningAgentServer(agent=agent, **{**QUICK, **_given})


@agent.stream()
async def act(request: AgentRequest, context: Context) -> AsyncIterator[str]:
    """`text COUNT SECONDS`: words with pauses; `block SECONDS`: a word, and the loop stands still;
    `thread SECONDS`: a word, then a thread that no one can stop; `deaf`: does not let itself be
    cancelled; `quit`: a task of its own ends the process; `die SECONDS`: it kills the process."""
    words = str(request.input[0].content).split()
    try:
        async for word in _ACTIONS[words[0]](*words[1:]):
            yield word
    except asyncio.CancelledError:
        mark(context, "cancelled")
        raise


async def _text(count: str, seconds: str) -> AsyncIterator[str]:
    for number in range(int(count)):
        yield f"w{number} "
        await asyncio.sleep(float(seconds))


async def _block(seconds: str) -> AsyncIterator[str]:
    yield "before "
    await asyncio.sleep(0.1)
    time.sleep(float(seconds))
    yield "after"


async def _thread(seconds: str) -> AsyncIterator[str]:
    yield "before "
    await asyncio.to_thread(time.sleep, float(seconds))
    yield "after"


async def _deaf() -> AsyncIterator[str]:
    yield "before "
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


async def _quit() -> AsyncIterator[str]:
    yield "before "

    async def child() -> None:
        sys.exit(3)

    await asyncio.create_task(child())


async def _die(seconds: str) -> AsyncIterator[str]:
    yield "before "
    await asyncio.sleep(float(seconds))
    os._exit(9)


_ACTIONS: dict[str, Any] = {
    "die": _die,
    "text": _text,
    "block": _block,
    "thread": _thread,
    "deaf": _deaf,
    "quit": _quit,
}


def mark(context: Context, what: str) -> None:
    """Leave a file, where the test wants to know."""
    if folder := os.environ.get("CRASH_MARKS"):
        (Path(folder) / f"{context.response_id}.{context.attempt}.{what}").touch()
