"""The examples of docs/examples, as handlers; other tests run them in a server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pgdurable import AgentRequest, Context

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context_after(*events: dict[str, Any]) -> Context:
    return Context.for_test(attempt=2 if events else 1, previous_events=events)


async def streamed(module: ModuleType, request: AgentRequest, context: Context) -> list[Any]:
    handler = module.agent.handler_for(stream=True)
    return [event async for event in handler(request, context)]


@pytest.fixture
def hello(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = example("hello")
    monkeypatch.setattr(module, "SECONDS_PER_WORD", 0)
    return module


async def test_hello_says_its_forty_words(hello: ModuleType) -> None:
    words = await streamed(hello, AgentRequest({"input": "hi"}), context_after())

    assert len(words) == 40
    assert "".join(words) == hello.TEXT
    assert hello.agent.recovery == "restart"


async def test_tools_calls_its_tool_and_answers() -> None:
    request = AgentRequest({"input": "Where is order 4711?"})

    call, result, *answer = await streamed(example("tools"), request, context_after())

    assert call["item"]["arguments"] == '{"number": "4711"}'
    assert result["item"]["call_id"] == call["item"]["call_id"]
    assert "".join(answer) == "Order 4711 was shipped and arrives in 2 days."


async def test_tools_does_not_repeat_a_call_that_has_answered() -> None:
    tools = example("tools")
    request = AgentRequest({"input": [{"role": "user", "content": [{"text": "order 4711"}]}]})
    events = (await streamed(tools, request, context_after()))[:2]

    answer = await streamed(tools, request, context_after(*events))

    assert "".join(answer) == "Order 4711 was shipped and arrives in 2 days."


def test_invoke_only_is_a_plain_function_that_serves_both_modes() -> None:
    agent = example("invoke_only").agent
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    handler = agent.handler_for(stream=True)
    context = context_after()

    assert not handler.is_async
    assert handler is agent.handler_for(stream=False)
    assert handler(AgentRequest({"input": parts}), context) == "HELLO"
    assert context.annotations() == {"custom_outputs": {"characters": 5}}
