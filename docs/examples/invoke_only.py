"""An agent without a stream: a plain function that returns its answer.

It may block, because it runs in a thread, and it serves streaming clients too.
"""

from __future__ import annotations

from pgdurable import Agent, AgentRequest, Context

agent = Agent("invoke_only")


@agent.invoke()
def shout(request: AgentRequest, context: Context) -> str:
    """Return what the user said last in capitals, and how long it was."""
    context.custom_outputs = {"characters": len(request.text)}
    return request.text.upper()
