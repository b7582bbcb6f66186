"""An agent without a stream: a plain function that returns its answer.

It may block, because it runs in a thread, and it serves streaming clients too.
"""

from __future__ import annotations

from pgdurable import Agent, AgentRequest, Context

agent = Agent("invoke_only")


@agent.invoke()
def shout(request: AgentRequest, context: Context) -> str:
    """Return the last message in capitals, and how long it was."""
    content = request.input[-1].content if request.input else ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    text = content or ""
    context.custom_outputs = {"characters": len(text)}
    return text.upper()
