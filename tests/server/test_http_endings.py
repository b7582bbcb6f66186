"""Failures, cancel, delete and retry over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pgdurable import AgentRequest
from pgdurable.server import streams
from tests.support.grammar import check_stream
from tests.support.inside import Inside, frames_of, inside, text_of


class Troubled:
    """A handler that does what the input says."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle(self, request: AgentRequest) -> AsyncIterator[Any]:
        self.calls += 1
        asked = request.input[-1].content
        yield "some text"
        if asked == "raise":
            raise ValueError("a secret")
        if asked == "rubbish":
            yield object()
        if asked == "wait":
            await asyncio.Event().wait()


@pytest.fixture
def troubled() -> Troubled:
    return Troubled()


@pytest.fixture
async def http(dsn: str, troubled: Troubled) -> AsyncIterator[Inside]:
    async with inside(dsn, troubled.handle) as http:
        yield http


async def send(http: Inside, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with http.session.request(method, f"{http.url}{path}", **options) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("asked", "code"), [("raise", "server_error"), ("rubbish", "invalid_event")]
)
async def test_a_blocking_failure_is_a_500_that_nobody_retries(
    http: Inside, troubled: Troubled, asked: str, code: str
) -> None:
    body = {"input": asked}
    async with http.session.post(f"{http.url}/responses", json=body) as answer:
        assert answer.status == 500
        assert answer.headers["x-should-retry"] == "false"
        error = (await answer.json())["error"]
    assert (error["code"], error["type"]) == (code, "server_error")
    assert "secret" not in error["message"]
    stored = await http.get(answer.headers["X-Response-Id"])
    assert stored["status"] == "failed" and stored["error"]["code"] == code
    assert stored["error"]["type"] and stored["error"]["message"] == error["message"]
    assert troubled.calls == 1


async def test_a_failed_stream_has_the_error_then_its_end(http: Inside) -> None:
    body = {"input": "raise", "stream": True}
    async with http.session.post(f"{http.url}/responses", json=body) as answer:
        assert answer.status == 200
        frames = [frame async for frame in frames_of(answer)]
    assert frames[-1] == b"data: [DONE]"
    events = await http.events(answer.headers["X-Response-Id"])
    check_stream(events)
    error, failed = events[-2:]
    assert (error["type"], error["code"], error["param"]) == ("error", "server_error", None)
    assert failed["type"] == "response.failed"
    assert text_of(failed["response"]) == "some text"


async def test_cancel_is_idempotent_and_keeps_the_text_so_far(http: Inside) -> None:
    response_id = await http.post("wait")
    async with http.session.get(f"{http.url}/responses/{response_id}?stream=true") as answer:
        async for frame in frames_of(answer):
            if b'"delta"' in frame:
                break
        url = f"{http.url}/v1/responses/{response_id}"
        async with http.session.post(f"{url}/cancel") as cancelled:
            first = (cancelled.status, await cancelled.json())
            assert cancelled.headers["X-Response-Id"] == response_id
            assert url.endswith(cancelled.headers["Location"])
        rest = [frame async for frame in frames_of(answer)]
    assert first[0] == 200 and first[1]["status"] == "cancelled"
    assert first[1]["incomplete_details"] == {"reason": "cancelled"}
    assert text_of(first[1]) == "some text"
    assert await send(http, "POST", f"/v1/responses/{response_id}/cancel") == first
    assert rest[-1] == b"data: [DONE]"
    events = await http.events(response_id)
    check_stream(events)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"] == first[1]


async def test_a_queued_response_is_cancelled_at_once(dsn: str, troubled: Troubled) -> None:
    async with inside(dsn, troubled.handle, worker=False) as http:
        response_id = await http.post()
        status, response = await send(http, "POST", f"/responses/{response_id}/cancel")
        assert (status, response["status"]) == (200, "cancelled")
        check_stream(await http.events(response_id))
    assert troubled.calls == 0


async def test_a_finished_response_is_not_changed_by_a_cancel(http: Inside) -> None:
    response_id = await http.post("hi")
    finished = await http.finished(response_id)
    for _ in range(2):
        assert await send(http, "POST", f"/responses/{response_id}/cancel") == (200, finished)
    assert await http.get(response_id) == finished


async def test_a_foreground_response_cannot_be_cancelled(http: Inside) -> None:
    _, response = await send(http, "POST", "/responses", json={"input": "hi"})
    status, refusal = await send(http, "POST", f"/responses/{response['id']}/cancel")
    assert status == 400 and refusal["error"]["param"] == "id"
    assert "background=true" in refusal["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{}", b"rubbish"])
async def test_the_body_of_a_cancel_is_not_looked_at(http: Inside, body: bytes) -> None:
    response_id = await http.post("wait")
    status, response = await send(http, "POST", f"/responses/{response_id}/cancel", data=body)
    assert (status, response["status"]) == (200, "cancelled")


@pytest.mark.parametrize("asked", ["hi", "wait"])
async def test_a_deleted_response_is_unknown(http: Inside, asked: str) -> None:
    response_id = await http.post(asked)
    path = f"/responses/{response_id}"
    status, deleted = await send(http, "DELETE", path)
    assert status == 200
    assert deleted == {"id": response_id, "object": "response", "deleted": True}
    for method, suffix in (
        ("GET", ""),
        ("GET", "?stream=true"),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        assert (await send(http, method, path + suffix))[0] == 404


async def test_the_tails_of_a_deleted_response_end(http: Inside) -> None:
    response_id = await http.post("wait")
    async with http.session.get(f"{http.url}/responses/{response_id}?stream=true") as answer:
        frames = frames_of(answer)
        while b'"delta"' not in (frame := await anext(frames)):
            pass
        await send(http, "DELETE", f"/responses/{response_id}")
        async with asyncio.timeout(10):
            *rest, error, done = [frame async for frame in frames]
    last, told = (json.loads(one.removeprefix(b"data: ")) for one in ([frame, *rest][-1], error))
    assert (told["type"], told["code"]) == ("error", "response_not_found")
    assert told["sequence_number"] == last["sequence_number"] + 1
    assert done == b"data: [DONE]"


async def test_a_retry_is_a_new_response_to_the_same_request(http: Inside) -> None:
    response_id = await http.post("hi", metadata={"k": "v"})
    finished = await http.finished(response_id)
    url = f"{http.url}/v1/responses/{response_id}/retry"
    async with http.session.post(f"{url}?tools=maybe") as answer:
        assert answer.status == 400
    async with http.session.post(url) as answer:
        assert answer.status == 200
        retried = await answer.json()
    assert retried["id"] != response_id
    assert answer.headers["Location"] == f"/v1/responses/{retried['id']}"
    assert (await http.finished(retried["id"]))["metadata"] == {"k": "v"}
    assert await http.get(response_id) == finished


async def test_a_response_that_runs_is_not_retried(http: Inside) -> None:
    response_id = await http.post("wait")
    async with http.session.post(f"{http.url}/responses/{response_id}/retry") as answer:
        assert answer.status == 409
        assert answer.headers["x-should-retry"] == "false"
        assert (await answer.json())["error"]["code"] == "not_finished"


async def test_too_many_waiting_posts_are_put_off(dsn: str, troubled: Troubled) -> None:
    async with inside(dsn, troubled.handle, max_queued=1) as http:
        answers = await asyncio.gather(
            *[
                http.session.post(f"{http.url}/responses", json={"input": "hi", "background": True})
                for _ in range(40)
            ]
        )
        statuses = {answer.status for answer in answers}
        assert statuses <= {200, 503} and 503 in statuses
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.headers["retry-after"] == "1"
        assert (await refused.json())["error"]["type"] == "server_error"
        for answer in answers:
            answer.release()


async def test_a_client_that_has_left_is_no_error(
    http: Inside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a write finds out that comes before the server is told."""
    response_id = await http.post("wait")

    async def late(response: web.StreamResponse, data: bytes) -> None:
        raise ConnectionResetError("the client has left")

    monkeypatch.setattr(streams, "write", late)
    with pytest.raises(aiohttp.ClientError):
        await http.frames(response_id)

    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
