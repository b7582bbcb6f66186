"""The four modes over HTTP: headers, keep-alive, waiting, leaving, what is stored afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pgdurable import Agent, AgentRequest, LongRunningAgentServer
from tests.support.grammar import check_stream
from tests.support.inside import Inside, frames_of, inside, text_of
from tests.support.waiting import TIMEOUT, wait_for_row, wait_until

MODES = [
    {},
    {"stream": True},
    {"background": True},
    {"background": True, "stream": True},
]


class Stage:
    """A handler that waits for its cue between its two words."""

    def __init__(self) -> None:
        self.cue = asyncio.Event()
        self.cancelled = False
        self.calls = 0

    async def play(self, request: AgentRequest) -> AsyncIterator[str]:
        self.calls += 1
        yield "one "
        try:
            await self.cue.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        yield "two"


@pytest.fixture
async def stage() -> Stage:
    return Stage()


@pytest.fixture
async def http(dsn: str, stage: Stage) -> AsyncIterator[Inside]:
    async with inside(dsn, stage.play, keep_alive_seconds=0.1) as http:
        yield http


def post(http: Inside, *, prefix: str = "", headers: Any = None, **body: Any) -> Any:
    url = f"{http.url}{prefix}/responses"
    return http.session.post(url, json={"input": "hi", **body}, headers=headers)


@pytest.mark.parametrize("path", ["/responses", "/v1/responses", "/invocations"])
async def test_a_mounted_server_says_where_its_response_is(dsn: str, path: str) -> None:
    agent = Agent()

    @agent.invoke()
    def hello(request: AgentRequest) -> str:
        return "hello"

    outer = web.Application()
    outer.add_subapp("/agents", LongRunningAgentServer(dsn=dsn, agent=agent).app)
    async with TestClient(TestServer(outer)) as client:
        answer = await client.post(f"/agents{path}", json={"input": "hi"})
        found = await client.get(answer.headers["Location"])
        assert (await found.json())["id"] == answer.headers["X-Response-Id"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("path", "prefix"), [("/v1/responses", "/v1"), ("/responses", "")])
async def test_every_answer_says_where_its_response_is(
    http: Inside, stage: Stage, mode: dict[str, Any], path: str, prefix: str
) -> None:
    stage.cue.set()
    asked = {"input": "hi", **mode}
    async with http.session.post(http.url + path, json=asked) as answer:
        response_id = answer.headers["X-Response-Id"]
        assert answer.headers["Location"] == f"{prefix}/responses/{response_id}"
        assert answer.headers["x-request-id"].startswith("req_")
        if "stream" in mode:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["X-Accel-Buffering"] == "no"
        await answer.read()
    location = http.url + answer.headers["Location"]
    async with http.session.get(location) as answer:
        assert answer.headers["X-Response-Id"] == (await answer.json())["id"] == response_id
        assert answer.headers["Location"] == f"{prefix}/responses/{response_id}"
    async with http.session.get(f"{location}?stream=true") as answer:
        assert answer.headers["X-Response-Id"] == response_id
        assert answer.headers["x-request-id"].startswith("req_")


async def test_a_replay_is_the_live_stream_byte_for_byte(http: Inside, stage: Stage) -> None:
    for background in (True, False):
        stage.cue.clear()
        async with post(http, stream=True, background=background) as answer:
            live = []
            async for frame in frames_of(answer):
                live.append(frame)
                if b'"delta":"one "' in frame:
                    stage.cue.set()
        response_id = answer.headers["X-Response-Id"]
        assert await http.frames(response_id) == live
        assert await http.frames(response_id, "&starting_after=3") == live[4:]
        check_stream([json.loads(frame.removeprefix(b"data: ")) for frame in live[:-1]])


async def test_ids_are_lines_of_their_own_for_who_asks(http: Inside, stage: Stage) -> None:
    stage.cue.set()
    async with post(http, stream=True) as answer:
        plain = await answer.read()
    url = f"{http.url}/responses/{answer.headers['X-Response-Id']}?stream=true"
    async with http.session.get(f"{url}&event_ids=true") as answer:
        with_ids = await answer.read()
    assert b"id:" not in plain
    count = len(re.findall(rb"^id: \d+$", with_ids, re.MULTILINE))
    assert count == plain.count(b"data: {")
    assert re.sub(rb"^id: \d+\n", b"", with_ids, flags=re.MULTILINE) == plain
    async with http.session.get(url, headers={"Last-Event-ID": "2"}) as answer:
        rest = await answer.read()
    assert with_ids.endswith(rest) and rest.startswith(b"id: 3\n")
    query = f"{url}&starting_after=5"
    async with http.session.get(query, headers={"Last-Event-ID": "2"}) as answer:
        assert (await answer.read()).startswith(b"id: 6\n"), "the query wins"


async def test_comments_keep_a_silent_stream_alive(http: Inside, stage: Stage) -> None:
    for query, comment in (("", b": keep-alive\n\n"), ("&event_ids=true", b": keep-alive\n")):
        stage.cue.clear()
        response_id = await http.post()
        url = f"{http.url}/responses/{response_id}?stream=true{query}"
        async with asyncio.timeout(20), http.session.get(url) as answer:
            seen = b""
            while seen.count(comment) < 3:
                seen += await answer.content.readany()
            stage.cue.set()
            seen += await answer.read()
        assert comment in seen and seen.endswith(b"data: [DONE]\n\n")
        if query:
            assert comment + b"\n" not in seen, "openai-python takes that for an empty event"


async def test_white_space_keeps_a_long_blocking_call_alive(http: Inside, stage: Stage) -> None:
    async with asyncio.timeout(20), post(http) as answer:
        seen = b""
        while len(seen) < 3:
            seen += await answer.content.readany()
        assert seen.strip() == b""
        stage.cue.set()
        seen += await answer.read()
    assert answer.content_type == "application/json"
    response = json.loads(seen)
    assert text_of(response) == "one two" and response["status"] == "completed"


async def after_white_space(http: Inside, then: Callable[[str], Any]) -> tuple[str, Any]:
    """A blocking call that has got its first bytes, then something happens: id and body."""
    async with asyncio.timeout(20), post(http) as answer:
        response_id = answer.headers["X-Response-Id"]
        assert answer.status == 200
        await answer.content.readany()
        await then(response_id)
        return response_id, json.loads(await answer.read())


async def test_a_failure_after_white_space_is_a_failed_response(dsn: str) -> None:
    cue = asyncio.Event()

    async def handler(request: AgentRequest) -> AsyncIterator[str]:
        yield "so far"
        await cue.wait()
        raise ValueError

    async def fail(response_id: str) -> None:
        cue.set()

    async with inside(dsn, handler, keep_alive_seconds=0.1) as http:
        response_id, response = await after_white_space(http, fail)
        assert (response["id"], response["status"]) == (response_id, "failed")
        assert response["error"]["type"] and response["error"]["code"] == "server_error"


async def test_a_response_deleted_under_its_reader_is_not_found(http: Inside) -> None:
    async def delete(response_id: str) -> None:
        async with http.session.delete(f"{http.url}/responses/{response_id}") as answer:
            assert answer.status == 200

    _, body = await after_white_space(http, delete)
    assert body["error"]["type"] == "invalid_request_error"


async def test_a_server_that_stops_says_how_far_the_response_is(http: Inside) -> None:
    async def stop(response_id: str) -> None:
        http.runtime.hub.close()

    response_id, response = await after_white_space(http, stop)
    assert (response["id"], response["status"]) == (response_id, "in_progress")


async def test_prefer_wait_answers_202_when_the_time_is_over(http: Inside, stage: Stage) -> None:
    async with post(http, headers={"Prefer": "respond-async, wait=0"}) as answer:
        assert answer.status == 202
        queued = await answer.json()
    assert queued["status"] == "queued" and queued["output"] == []
    stage.cue.set()
    finished = await http.finished(queued["id"])
    assert text_of(finished) == "one two"
    assert answer.headers["Location"] == f"/responses/{queued['id']}"
    two = [("Prefer", "handling=lenient"), ("Prefer", "wait=20")]
    async with post(http, headers=two) as answer:
        assert answer.status == 200
        assert text_of(await answer.json()) == "one two"


async def left(http: Inside, stage: Stage, *, stream: bool, background: bool = False) -> str:
    """Post, leave once the handler runs, and return the response's id."""
    tag = f"{stream}-{background}-{stage.calls}"
    calls = stage.calls
    body = {"input": "hi", "stream": stream, "background": background, "metadata": {"tag": tag}}
    async with aiohttp.ClientSession() as session:
        asking = asyncio.ensure_future(session.post(f"{http.url}/responses", json=body))
        await wait_until(lambda: stage.calls > calls)
        if stream:
            answer = await asking
            await answer.content.readuntil(b"\n\n")
            answer.close()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    url = f"{http.url}/responses?metadata.tag={tag}"
    async with http.session.get(url) as answer:
        (response,) = (await answer.json())["data"]
    return str(response["id"])


@pytest.mark.parametrize("stream", [True, False])
async def test_a_foreground_client_that_leaves_cancels_its_response(
    http: Inside, stage: Stage, stream: bool
) -> None:
    response = await http.finished(await left(http, stage, stream=stream))
    assert response["status"] == "cancelled" and text_of(response) == "one "
    assert stage.cancelled


@pytest.mark.parametrize("stream", [True, False])
async def test_it_goes_on_where_the_server_says_so(dsn: str, stage: Stage, stream: bool) -> None:
    async with inside(dsn, stage.play, on_disconnect="continue") as http:
        response_id = await left(http, stage, stream=stream)
        stage.cue.set()
        assert text_of(await http.finished(response_id)) == "one two"


async def test_a_background_client_may_leave(http: Inside, stage: Stage) -> None:
    response_id = await left(http, stage, stream=True, background=True)
    stage.cue.set()
    assert text_of(await http.finished(response_id)) == "one two"


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_to_be_stored_is_gone_afterwards(
    http: Inside, stage: Stage, conn: psycopg.AsyncConnection[Any], stream: bool
) -> None:
    stage.cue.set()
    async with post(http, stream=stream, store=False) as answer:
        assert answer.status == 200
        await answer.read()
    url = f"{http.url}/responses/{answer.headers['X-Response-Id']}"

    deadline = asyncio.get_running_loop().time() + TIMEOUT
    while (await http.session.get(url)).status != 404:
        assert asyncio.get_running_loop().time() < deadline
    for table in ("responses", "requests", "events", "attempts"):
        query = f"select count(*) from pgdurable.{table}"
        row = await (await conn.execute(query.encode())).fetchone()
        assert row == (0,), table


async def test_what_is_not_to_be_stored_is_gone_after_its_client_has_left(
    http: Inside, stage: Stage, conn: psycopg.AsyncConnection[Any]
) -> None:
    async with post(http, stream=True, store=False) as answer:
        frames = frames_of(answer)
        while b'"delta":"one "' not in await anext(frames):
            pass
        answer.close()
    none = "select 1 where not exists (select from pgdurable.responses)"
    assert await wait_for_row(conn, none)
    await wait_until(lambda: stage.cancelled)


async def test_now_is_whatever_comes_next(http: Inside, stage: Stage) -> None:
    response_id = await http.post()
    url = f"{http.url}/responses/{response_id}?stream=true&starting_after=now"

    async def first_word() -> bool:
        async with http.session.get(f"{http.url}/responses/{response_id}?stream=true") as answer:
            async for frame in frames_of(answer):
                if b'"delta":"one "' in frame:
                    return True
        return False

    assert await first_word()
    async with http.session.get(url) as answer:
        stage.cue.set()
        frames = [frame async for frame in frames_of(answer)]
    assert b"".join(frames).count(b'"delta":') == 1 and b'"delta":"two"' in b"".join(frames)


async def test_the_projection_is_the_readers_choice(dsn: str) -> None:
    async def handler(request: AgentRequest) -> AsyncIterator[dict[str, Any]]:
        for item in (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ):
            yield {"type": "response.output_item.done", "item": item}

    def kinds(response: Any) -> list[str]:
        return [item["type"] for item in response["output"]]

    async with inside(dsn, handler) as http:
        url = f"{http.url}/responses"
        body = {"input": "hi"}
        async with http.session.post(f"{url}?tools=mcp_call", json=body) as answer:
            merged = await answer.json()
        assert kinds(merged) == ["mcp_call"]
        assert merged["output"][0]["server_label"] == "agent"
        plain = await http.get(merged["id"])
        assert kinds(plain) == ["function_call", "function_call_output"]
        async with http.session.get(f"{url}?tools=mcp_call") as answer:
            (listed,) = (await answer.json())["data"]
        assert listed == merged
        events = await http.events(merged["id"], "&tools=mcp_call")
        assert events[-1]["response"] == merged


async def test_a_poll_shows_what_is_closed_in_the_order_of_the_stream(dsn: str) -> None:
    told, goes_on = asyncio.Event(), asyncio.Event()

    async def handler(request: AgentRequest) -> AsyncIterator[dict[str, Any]]:
        calls = [
            {"type": "function_call", "id": f"fc_{n}", "call_id": f"c{n}", "name": "f"}
            for n in range(2)
        ]
        for call in calls:
            yield {"type": "response.output_item.added", "item": call}
        for call in reversed(calls):
            item = {**call, "arguments": "{}"}
            yield {"type": "response.output_item.done", "item": item}
        told.set()
        await goes_on.wait()

    async with inside(dsn, handler) as http:
        response_id = await http.post()
        await told.wait()
        running: dict[str, Any] = {"output": []}
        while len(running["output"]) < 2:  # the last of it is on its way into the log
            running = await http.get(response_id)
        goes_on.set()
        finished = await http.finished(response_id)

    assert running["status"] == "in_progress"
    assert [item["call_id"] for item in running["output"]] == ["c0", "c1"]
    assert running["output"] == finished["output"]
