"""Idempotency-Key: the same key and body is the same response, however often and in any mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from pgdurable import AgentRequest
from tests.support.inside import Inside, frames_of, inside, text_of
from tests.support.waiting import TIMEOUT, wait_until

KEY = {"Idempotency-Key": "order-7"}


class Counting:
    """A handler that says how often it was called, when it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()

    async def handle(self, request: AgentRequest) -> AsyncIterator[str]:
        self.calls += 1
        yield f"call {self.calls} "
        await self.go.wait()
        yield "done"


@pytest.fixture
async def counting() -> Counting:
    return Counting()


@pytest.fixture
async def http(dsn: str, counting: Counting) -> AsyncIterator[Inside]:
    async with inside(
        dsn, counting.handle, principal=lambda request: request.headers.get("x-user", "")
    ) as http:
        yield http


async def post(http: Inside, headers: dict[str, str] = KEY, **body: Any) -> tuple[int, Any]:
    url, asked = f"{http.url}/responses", {"input": "hi", **body}
    async with http.session.post(url, json=asked, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_blocking_call_that_is_repeated_gets_the_same_answer(
    http: Inside, counting: Counting
) -> None:
    counting.go.set()
    first = await post(http)
    assert await post(http) == first
    assert (first[0], text_of(first[1])) == (200, "call 1 done")
    assert counting.calls == 1
    assert http.runtime.headers == {}, "kept for a handler that is not called"


async def test_another_body_is_refused_and_not_retried(http: Inside, counting: Counting) -> None:
    counting.go.set()
    await post(http)
    url, body = f"{http.url}/responses", {"input": "other"}
    async with http.session.post(url, json=body, headers=KEY) as answer:
        assert answer.status == 409
        assert answer.headers["x-should-retry"] == "false"
        assert (await answer.json())["error"]["code"] == "idempotency_conflict"
    assert counting.calls == 1


async def test_fifty_at_once_are_one_response(http: Inside, counting: Counting) -> None:
    answers = await asyncio.gather(*[post(http, background=True) for _ in range(50)])
    assert {status for status, _ in answers} == {200}
    (response_id,) = {response["id"] for _, response in answers}
    counting.go.set()
    assert text_of(await http.finished(response_id)) == "call 1 done"
    assert counting.calls == 1


async def test_fifty_blocking_calls_at_once_wait_for_the_one_response(
    http: Inside, counting: Counting
) -> None:
    counting.go.set()
    answers = await asyncio.gather(*[post(http) for _ in range(50)])
    assert all(answer == answers[0] for answer in answers)
    assert counting.calls == 1


async def test_a_stream_attaches_to_the_response_that_runs(
    http: Inside, counting: Counting
) -> None:
    url, body = f"{http.url}/responses", {"input": "hi", "stream": True, "background": True}
    streams = []
    async with (
        http.session.post(url, json=body, headers=KEY) as one,
        http.session.post(url, json=body, headers=KEY) as two,
    ):
        assert one.headers["X-Response-Id"] == two.headers["X-Response-Id"]
        counting.go.set()
        streams = [[frame async for frame in frames_of(answer)] for answer in (one, two)]
    assert streams[0] == streams[1] and streams[0][-1] == b"data: [DONE]"
    async with http.session.post(url, json=body, headers=KEY) as again:
        assert [frame async for frame in frames_of(again)] == streams[0]
    assert counting.calls == 1


async def test_a_key_belongs_to_its_principal(http: Inside, counting: Counting) -> None:
    counting.go.set()
    ids = {(await post(http, {**KEY, "x-user": user}))[1]["id"] for user in ("", "ann", "bob")}
    assert len(ids) == 3


async def test_a_key_that_is_too_long_is_refused(http: Inside, counting: Counting) -> None:
    status, refusal = await post(http, {"Idempotency-Key": "k" * 256})
    assert status == 400 and "Idempotency-Key" in refusal["error"]["message"]


async def test_a_key_that_is_not_utf8_is_refused(http: Inside) -> None:
    url = URL(http.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = b"POST /responses HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 14\r\n"
    writer.write(head + b'Idempotency-Key: caf\xe9\r\n\r\n{"input":"hi"}')
    async with asyncio.timeout(TIMEOUT):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"Idempotency-Key is not UTF-8" in answer


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_client_that_leaves_may_come_back_with_its_key(
    http: Inside, counting: Counting, leaver: int
) -> None:
    url, body = f"{http.url}/responses", {"input": "hi", "stream": True}
    async with (
        http.session.post(url, json=body, headers=KEY) as one,
        http.session.post(url, json=body, headers=KEY) as two,
    ):
        assert one.headers["X-Response-Id"] == two.headers["X-Response-Id"]
        answers = [one, two]
        answers.pop(leaver).close()
        await wait_until(lambda: http.runtime.hub.readers == 1)
        async with http.session.post(url, json=body, headers=KEY) as again:
            counting.go.set()
            (stayed,) = answers
            frames = [[frame async for frame in frames_of(each)] for each in (stayed, again)]
    assert frames[0] == frames[1] and b'"delta":"done"' in b"".join(frames[0])
    assert counting.calls == 1
