"""The agent that the clients talk to: the first word of the last message says what it does.

`pgdurable run tests.clients.agents:server` is the patient one, `:fleet` the one with short leases.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from pgdurable import Agent, AgentRequest, Context, LongRunningAgentServer

Yielded = AsyncIterator[str | dict[str, Any]]
Action = Callable[[AgentRequest, Context, list[str]], Yielded]

agent = Agent("clients")
# Comments go out between events in nearly every slow stream.
server = LongRunningAgentServer(agent=agent, keep_alive_seconds=0.2)
fleet = LongRunningAgentServer(
    agent=agent,
    keep_alive_seconds=0.2,
    heartbeat_interval_seconds=0.3,
    heartbeat_stale_threshold_seconds=2.0,
    stale_scan_interval_seconds=0.3,
)


@agent.stream()
async def act(request: AgentRequest, context: Context) -> Yielded:
    """Do what the last message says; anything else is answered with itself."""
    # A recovered request ends with what the first attempt did, not with what it was asked.
    asked = request.input[0] if context.is_recovery else request.input[-1]
    words = text_of(asked).split() or [""]
    async for value in ACTIONS.get(words[0], echo)(request, context, words):
        yield value


async def echo(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    yield " ".join(words)


async def text(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """`text N [SECONDS]`: N words, so long between them."""
    for number in range(int(words[1])):
        if len(words) > 2:
            await asyncio.sleep(float(words[2]))
        yield f"w{number} "


async def who(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """`who N SECONDS`: which process this is, then the words; the first attempt has no end."""
    yield f"pid {os.getpid()} "
    number = 0
    while context.attempt == 1 or number < int(words[1]):
        await asyncio.sleep(float(words[2]))
        yield f"w{number} "
        number += 1


async def tools(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """Two calls executed here, as the seed's templates emit them: bare, without ids."""
    yield "Let me see. "
    for number in (1, 2):
        call_id = f"call_{number}"
        call = {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}"}
        yield {"type": "response.output_item.done", "item": call}
        output = {"type": "function_call_output", "call_id": call_id, "output": f"out {number}"}
        yield {"type": "response.output_item.done", "item": output}
    yield "The tools said 1 and 2."


async def unexecuted(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """A call that the client is to execute."""
    call = {"type": "function_call", "call_id": "call_c", "name": "local", "arguments": '{"n":1}'}
    yield {"type": "response.output_item.done", "item": call}


async def reasoning(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    for piece in ("First, ", "then."):
        yield {
            "type": "response.reasoning_summary_text.delta",
            "item_id": "rs_inner",
            "output_index": 0,
            "summary_index": 0,
            "delta": piece,
        }
    yield "So it is."


async def fail(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """`fail before` or `fail after` some output, or `fail late`."""
    if words[1] == "after":
        yield "So far "
        yield "so good"
    if words[1] == "late":
        await asyncio.sleep(0.6)
    raise ValueError("a secret that no client sees")


async def forever(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    while True:
        yield "on and "
        await asyncio.sleep(0.02)


async def silent(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """`silent SECONDS`: nothing for so long, then a word."""
    await asyncio.sleep(float(words[1]))
    yield "at last"


async def memory(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """Everything it was sent, as role:text or type, and where."""
    yield " | ".join([seen(item) for item in request.input])
    context.custom_outputs = {
        "conversation_id": context.conversation_id,
        "instructions": request.instructions,
    }


async def relay(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """Two inner model streams with lifecycle, ids and numbers of their own."""
    for inner in ("resp_inner1", "resp_inner2"):
        for event in inner_stream(inner):
            yield event


async def odd(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """Characters that have broken parsers and databases before."""
    yield "nul \0 "
    yield "line\r\n\u2028\u2029\u0085 data: [DONE]\n\n: x "
    yield "\U0001f600 end"


async def big(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    """`big BYTES`: one delta of that size."""
    yield "x" * int(words[1])


async def traced(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    context.trace_id = "tr-1"
    context.usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    yield "traced"


async def nothing(request: AgentRequest, context: Context, words: list[str]) -> Yielded:
    if False:
        yield ""


ACTIONS: dict[str, Action] = {
    action.__name__: action
    for action in (
        text,
        who,
        tools,
        unexecuted,
        reasoning,
        fail,
        forever,
        silent,
        memory,
        relay,
        odd,
        big,
        traced,
        nothing,
    )
}


def text_of(item: Any) -> str:
    content = item.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def seen(item: Any) -> str:
    if item.get("type") == "message":
        return f"{item.get('role')}:{text_of(item).strip()}"
    return f"{item.get('type')}:{item.get('output') or item.get('name') or ''}"


def inner_stream(response_id: str) -> list[dict[str, Any]]:
    item_id, text = f"msg_{response_id}", f"From {response_id}. "
    part = {"type": "output_text", "text": text, "annotations": []}
    shell = {"type": "message", "id": item_id, "role": "assistant"}
    message = {**shell, "status": "completed", "content": [part]}
    place = {"item_id": item_id, "output_index": 0, "content_index": 0}
    response = {"id": response_id, "object": "response", "created_at": 1, "model": "inner"}
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "output": []}},
        {"type": "response.in_progress", "response": {**response, "output": []}},
        {"type": "response.output_item.added", "item": {**shell, "content": []}},
        {"type": "response.content_part.added", "part": {**part, "text": ""}, **place},
        {"type": "response.output_text.delta", "delta": text, **place},
        {"type": "response.output_text.done", "text": text, **place},
        {"type": "response.content_part.done", "part": part, **place},
        {"type": "response.output_item.done", "item": message, "output_index": 0},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [message], "usage": usage},
        },
    ]
    for number, event in enumerate(events):
        event["sequence_number"] = number
    events[2]["output_index"] = 0
    return events
