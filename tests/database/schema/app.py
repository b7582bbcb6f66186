"""A server of this release, for what 0.1.0 has left: it takes over soon."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest, LongRunningAgentServer

agent = Agent()
server = LongRunningAgentServer(
    agent=agent,
    heartbeat_interval_seconds=0.3,
    heartbeat_stale_threshold_seconds=1.2,
    stale_scan_interval_seconds=0.3,
    poll_interval_seconds=0.2,
)


@agent.stream()
async def answer(request: AgentRequest) -> AsyncIterator[str]:
    yield "of this release"
