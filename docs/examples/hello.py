"""The smallest agent: forty words, one every 50 ms.

Killed in mid-sentence, it goes on after the last word that was stored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest, Context

TEXT = (
    "Hello! These forty words reach you one at a time, and each was stored before you saw it. "
    "Pull the plug on my process wherever you like: another one picks up the sentence here, "
    "and not a word is lost."
)
SECONDS_PER_WORD = 0.05

agent = Agent("hello")


@agent.stream()
async def hello(request: AgentRequest, context: Context) -> AsyncIterator[str]:
    """Say TEXT, or the rest of it."""
    said = await text_so_far(context)
    for word in re.findall(r"\S+\s*", TEXT[len(said) :]):
        await asyncio.sleep(SECONDS_PER_WORD)
        yield word


async def text_so_far(context: Context) -> str:
    """Return what earlier attempts have streamed."""
    return "".join(
        event["delta"]
        for event in await context.previous_events()
        if event["type"] == "response.output_text.delta"
    )
