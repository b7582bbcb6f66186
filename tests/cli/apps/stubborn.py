"""Agents that do not stop: one ignores its cancellation, one blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest
from pgdurable.long_running import LongRunningAgentServer

ignoring = Agent("ignoring")
blocking = Agent("blocking")


@ignoring.stream()
async def ignore(request: AgentRequest) -> AsyncIterator[str]:
    yield "begun"
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@blocking.stream()
async def block(request: AgentRequest) -> AsyncIterator[str]:
    yield "begun"
    print("now it blocks", flush=True)
    time.sleep(600)


ignoring_server = LongRunningAgentServer(agent=ignoring, drain_timeout_seconds=0.5)
blocking_server = LongRunningAgentServer(
    agent=blocking,
    drain_timeout_seconds=0.5,
    cleanup_timeout_seconds=1.5,
    db_statement_timeout_ms=1000,
)
