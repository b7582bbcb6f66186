"""The agent of `pgdurable demo`: forty-one words, one every 60 ms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest, LongRunningAgentServer
from pgdurable_cli.demo_text import LEASE_SECONDS, TEXT

SECONDS_PER_WORD = 0.06

agent = Agent("demo", recovery="restart")


@agent.stream()
async def narrate(request: AgentRequest) -> AsyncIterator[str]:
    """Say TEXT, from its beginning: an attempt after a kill is not seen to start over."""
    for word in re.findall(r"\S+\s*", TEXT):
        await asyncio.sleep(SECONDS_PER_WORD)
        yield word


# Short, so that nobody has to wait for the takeover; the defaults are 3 s and 10 s.
server = LongRunningAgentServer(
    agent=agent,
    heartbeat_interval_seconds=0.5,
    heartbeat_stale_threshold_seconds=LEASE_SECONDS,
    stale_scan_interval_seconds=0.25,
)
