"""POST /invocations: what MLflow's clients and the seed's chat UI send, to handlers of theirs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.clients.serving import Fleet, Server
from tests.support.grammar import check_stream

UI_HEADERS = {"x-mlflow-return-trace-id": "true", "x-forwarded-access-token": "t0k3n"}
UI_BODY = {
    "input": [{"role": "user", "content": "why"}],
    "context": {"conversation_id": "chat-1", "user_id": "ann"},
    "custom_inputs": {"a": 1},
}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


async def frames(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    *data, done = [line async for line in answer.content if line.startswith(b"data: ")]
    assert done == b"data: [DONE]\n"
    return [json.loads(line.removeprefix(b"data: ")) for line in data]


async def test_an_invoke_handler_for_mlflow(
    http: aiohttp.ClientSession, mlflow_server: Server
) -> None:
    url = f"{mlflow_server.url}/invocations"
    async with http.post(url, json=UI_BODY, headers=UI_HEADERS) as answer:
        response = await answer.json()
    assert answer.status == 200
    assert response["output"][0]["content"][0]["text"] == "ann asked why, token t0k3n"
    assert response["custom_outputs"] == {"inputs": {"a": 1}, "asked": 1}
    assert response["metadata"]["trace_id"] == "tr-mlflow"


async def test_a_stream_handler_for_mlflow(
    http: aiohttp.ClientSession, mlflow_server: Server
) -> None:
    url = f"{mlflow_server.url}/invocations"
    async with http.post(url, json={**UI_BODY, "stream": True}, headers=UI_HEADERS) as answer:
        events = await frames(answer)
    (message,) = check_stream(events)
    assert message["content"][0]["text"] == "ann asked why, token t0k3n "


async def test_the_trace_id_is_a_frame_for_who_asks(
    http: aiohttp.ClientSession, server: Server
) -> None:
    url, body = f"{server.url}/invocations", {"input": "traced", "stream": True}
    async with http.post(url, json=body, headers=UI_HEADERS) as answer:
        *events, trace = await frames(answer)
    assert trace == {"trace_id": "tr-1"}
    check_stream(events)
    async with http.post(url, json=body) as answer:
        check_stream(await frames(answer))
    async with http.post(url, json={"input": "traced"}, headers=UI_HEADERS) as answer:
        response = await answer.json()
    assert response["metadata"]["trace_id"] == "tr-1"
    assert response["usage"]["total_tokens"] == 7


async def test_the_next_turn_after_a_crash_is_on_the_rotated_conversation(
    http: aiohttp.ClientSession, fleet: Fleet
) -> None:
    fleet.workers()
    url = f"{fleet.front.url}/invocations"
    context = {"context": {"conversation_id": "chat-crash"}}
    body = {"input": "who 2 0.02", "background": True, "stream": True, **context}
    said, killed, seen = "", False, list[dict[str, Any]]()
    async with http.post(url, json=body) as answer:
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            seen.append(json.loads(line.removeprefix(b"data: ")))
            said += seen[-1].get("delta", "")
            if not killed and said.count("w") > 3:
                killed = fleet.kill(int(said.split()[1]))
    check_stream(seen)
    assert seen[-1]["response"]["attempt_number"] == 2

    async with http.post(url, json={"input": "memory", **context}) as answer:
        second = await answer.json()
    rotated = second["custom_outputs"]["conversation_id"]
    assert rotated.startswith("chat-crash::r-") and rotated.endswith("-2")

    async with http.get(f"{fleet.front.url}/conversations/chat-crash") as answer:
        assert (await answer.json())["current_conversation_id"] == rotated


async def test_the_chat_ui_comes_back_after_the_connection_was_cut(
    http: aiohttp.ClientSession, server: Server
) -> None:
    body = {"input": "text 30 0.02", "stream": True, "background": True}
    seen: list[dict[str, Any]] = []
    async with http.post(f"{server.url}/invocations", json=body) as answer:
        async for line in answer.content:
            if line.startswith(b"data: {"):
                seen.append(json.loads(line.removeprefix(b"data: ")))
            if len(seen) == 9:
                break
        answer.close()
    last = max(event["sequence_number"] for event in seen)
    url = f"{server.url}/responses/{seen[0]['response']['id']}"
    query = {"stream": "true", "starting_after": str(last)}
    async with http.get(url, params=query, headers={"authorization": "Bearer x"}) as answer:
        seen += await frames(answer)
    check_stream(seen)
