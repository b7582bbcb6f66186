"""The smallest agent: forty words, one every 50 ms.

Killed in mid-sentence, it starts over, unseen, and its readers get the next word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from pgdurable import Agent, AgentRequest

TEXT = (
    "Hello! These forty words reach you one at a time, and each was stored before you saw it. "
    "Pull the plug on my process wherever you like: another one picks up the sentence here, "
    "and not a word is lost."
)
SECONDS_PER_WORD = 0.05

agent = Agent("hello", recovery="restart")


@agent.stream()
async def hello(request: AgentRequest) -> AsyncIterator[str]:
    """Say TEXT."""
    for word in re.findall(r"\S+\s*", TEXT):
        await asyncio.sleep(SECONDS_PER_WORD)
        yield word
