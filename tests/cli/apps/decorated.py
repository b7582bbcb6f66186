"""The module-level decorator, as the seed's agents use it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pgdurable import AgentRequest, stream


@stream()
async def handler(request: AgentRequest) -> AsyncIterator[str]:
    yield "decorated"
