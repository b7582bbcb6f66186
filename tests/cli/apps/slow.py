"""An agent that says as many words as it is told to, ten a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest

agent = Agent("slow")


@agent.stream()
async def count(request: AgentRequest) -> AsyncIterator[str]:
    for number in range(int(request.input[0].content)):
        yield f"{number} "
        await asyncio.sleep(0.1)
