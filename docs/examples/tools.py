"""An agent that calls a tool: the call, its result and the answer are all in the log.

After a crash it looks there first, and does not call again what has already answered.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from pgdurable import Agent, AgentRequest, Context

agent = Agent("tools")


def look_up_order(number: str) -> dict[str, Any]:
    """The tool. A real one would ask a shop."""
    return {"order": number, "status": "shipped", "days": 2}


@agent.stream()
async def clerk(request: AgentRequest, context: Context) -> AsyncIterator[str | dict[str, Any]]:
    """Look up the order that the last message names, and say where it is."""
    number = order_number(request)
    order = await earlier_result(context)
    if order is None:
        call_id = f"call_{context.attempt}"
        yield item(
            {
                "type": "function_call",
                "call_id": call_id,
                "name": "look_up_order",
                "arguments": json.dumps({"number": number}),
            }
        )
        order = look_up_order(number)
        yield item(
            {"type": "function_call_output", "call_id": call_id, "output": json.dumps(order)}
        )
    yield f"Order {order['order']} was {order['status']} "
    yield f"and arrives in {order['days']} days."


def item(content: dict[str, Any]) -> dict[str, Any]:
    """Return the event that adds a finished item; the server fills in ids and indexes."""
    return {"type": "response.output_item.done", "item": content}


async def earlier_result(context: Context) -> dict[str, Any] | None:
    """Return what the tool answered in an earlier attempt."""
    for event in await context.previous_events():
        if event["type"] == "response.output_item.done":
            done = event["item"]
            if done["type"] == "function_call_output" and done.get("status") != "incomplete":
                result: dict[str, Any] = json.loads(done["output"])
                return result
    return None


def order_number(request: AgentRequest) -> str:
    """Return the digits of what the user said last."""
    return "".join(c for c in request.text if c.isdigit()) or "0"
