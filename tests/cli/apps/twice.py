"""A module that registers a second function for the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pgdurable import Agent

agent = Agent("twice")


@agent.stream()
async def first(request: Any) -> AsyncIterator[str]:
    yield "first"


@agent.stream()
async def second(request: Any) -> AsyncIterator[str]:
    yield "second"
