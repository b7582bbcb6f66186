"""openai-agents with the server as its model: run and run_streamed, one turn and several."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import (
    Agent,
    ModelBehaviorError,
    OpenAIProvider,
    RunConfig,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI, InternalServerError

from tests.clients.serving import Server

WORDS = "".join(f"w{number} " for number in range(10))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.url, api_key="-", timeout=30) as client:
        yield client


def through(client: AsyncOpenAI, **query: str) -> RunConfig:
    """Tracing would call somebody else's server."""
    if query:
        client = client.with_options(default_query=query)
    provider = OpenAIProvider(openai_client=client, use_responses=True)
    return RunConfig(model_provider=provider, tracing_disabled=True)


@pytest.fixture
def config(client: AsyncOpenAI) -> RunConfig:
    return through(client)


def agent(**settings: Any) -> Agent[None]:
    return Agent("tester", model="m", **settings)


async def run_streamed(asked: Any, config: RunConfig, **options: Any) -> tuple[Any, list[Any]]:
    result = Runner.run_streamed(agent(), asked, run_config=config, **options)
    return result, [event async for event in result.stream_events()]


async def test_run(config: RunConfig) -> None:
    result = await Runner.run(agent(instructions="Be brief."), "text 10", run_config=config)
    assert result.final_output == WORDS
    assert str(result.last_response_id).startswith("resp_")


async def test_run_streamed(config: RunConfig) -> None:
    result, events = await run_streamed("text 10 0.02", config)
    assert result.final_output == WORDS
    raw = [event.data for event in events if event.type == "raw_response_event"]
    assert "".join(e.delta for e in raw if e.type == "response.output_text.delta") == WORDS


async def test_turns_with_their_history(config: RunConfig) -> None:
    first = await Runner.run(agent(), "I am Ann.", run_config=config)
    asked: list[Any] = [*first.to_input_list(), {"role": "user", "content": "memory"}]
    second = await Runner.run(agent(), asked, run_config=config)
    wanted = "user:I am Ann. | assistant:I am Ann. | user:memory"
    assert second.final_output == wanted
    assert (await run_streamed(asked, config))[0].final_output == wanted


async def test_turns_with_previous_response_id(config: RunConfig) -> None:
    first = await Runner.run(agent(), "I am Ann.", run_config=config)
    previous: dict[str, Any] = {"previous_response_id": first.last_response_id}
    wanted = "user:I am Ann. | assistant:I am Ann. | user:memory"
    second = await Runner.run(agent(), "memory", run_config=config, **previous)
    assert second.final_output == wanted
    streamed, _ = await run_streamed("memory", config, **previous)
    assert streamed.final_output == wanted
    third = await Runner.run(
        agent(), "memory", run_config=config, previous_response_id=second.last_response_id
    )
    assert third.final_output.startswith(f"{wanted} | assistant:user:I am Ann.")


async def test_executed_tools_are_fine_through_the_projection(client: AsyncOpenAI) -> None:
    config = through(client, tools="mcp_call")
    result = await Runner.run(agent(), "tools", run_config=config)
    assert result.final_output == "The tools said 1 and 2."
    kinds = [item.type for item in result.new_items]
    assert kinds.count("tool_call_item") == 2
    streamed, events = await run_streamed("tools", config)
    assert streamed.final_output == result.final_output
    names = [event.name for event in events if event.type == "run_item_stream_event"]
    assert names.count("tool_called") == 2


async def test_executed_tools_are_a_mistake_to_it_without_the_projection(
    config: RunConfig,
) -> None:
    with pytest.raises(ModelBehaviorError, match="look"):
        await Runner.run(agent(), "tools", run_config=config)


async def test_a_tool_of_the_caller_is_called_by_the_caller(client: AsyncOpenAI) -> None:
    called: list[int] = []

    @function_tool
    def local(n: int) -> str:
        """Remember the number."""
        called.append(n)
        return "done"

    runner = agent(tools=[local])
    for query in ({}, {"tools": "mcp_call"}):
        config = through(client, **query)
        result = await Runner.run(runner, "unexecuted", run_config=config, max_turns=3)
        assert called.pop() == 1
        assert result.final_output == ""


async def test_a_failure_is_an_exception(config: RunConfig) -> None:
    with pytest.raises(InternalServerError, match="ValueError"):
        await Runner.run(agent(), "fail before", run_config=config)
    with pytest.raises(ModelBehaviorError, match="server_error"):
        await Runner.run(agent(), "fail late", run_config=config)
    for when in ("before", "after"):
        with pytest.raises(ModelBehaviorError, match="server_error"):
            await run_streamed(f"fail {when}", config)
