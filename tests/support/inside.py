"""A server and its worker inside the test: real HTTP, a real database, one event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from pgdurable import Agent, LongRunningAgentServer
from pgdurable.agent.registry import Recovery
from pgdurable.process.runtime import Runtime
from pgdurable.server.keys import RUNTIME
from tests.support.waiting import TIMEOUT

QUICK: dict[str, Any] = {
    "heartbeat_interval_seconds": 0.3,
    "heartbeat_stale_threshold_seconds": 1.0,
    "stale_scan_interval_seconds": 0.2,
    "poll_interval_seconds": 0.2,
    "drain_timeout_seconds": 0.0,
    "db_statement_timeout_ms": 500,
    "cleanup_timeout_seconds": 2.0,
}
Event = dict[str, Any]


class Inside:
    """A running server; `runtime` is what is behind it."""

    def __init__(self, url: str, runtime: Runtime, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.runtime = runtime
        self.session = session

    async def post(self, says: Any = "hi", **fields: Any) -> str:
        """A background response; its id."""
        body = {"input": says, "background": True, **fields}
        async with self.session.post(f"{self.url}/responses", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["id"])

    async def get(self, response_id: str) -> Event:
        """The response object."""
        async with self.session.get(f"{self.url}/responses/{response_id}") as answer:
            assert answer.status == 200, await answer.text()
            found: Event = await answer.json()
            return found

    async def frames(self, response_id: str, query: str = "") -> list[bytes]:
        """Everything that a tail gets, to its end."""
        url = f"{self.url}/responses/{response_id}?stream=true{query}"
        async with asyncio.timeout(TIMEOUT), self.session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return [frame async for frame in frames_of(answer)]

    async def events(self, response_id: str, query: str = "") -> list[Event]:
        """The events that a tail gets; `[DONE]` has to come after them."""
        *frames, last = await self.frames(response_id, query)
        assert last == b"data: [DONE]"
        return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]

    async def finished(self, response_id: str) -> Event:
        """The response object of its terminal event."""
        response: Event = (await self.events(response_id))[-1]["response"]
        return response


async def frames_of(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data frames, as they come; comments are left out."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n\n")
        for frame in whole:
            if not frame.startswith(b":"):
                yield frame


@asynccontextmanager
async def serving(server: LongRunningAgentServer) -> AsyncIterator[Inside]:
    """The server, until the block ends; its worker hands back what is left then."""
    async with TestServer(server.app) as test_server, aiohttp.ClientSession() as session:
        url = str(test_server.make_url("")).rstrip("/")
        runtime = server.app[RUNTIME]
        assert isinstance(runtime, Runtime)
        yield Inside(url, runtime, session)


@asynccontextmanager
async def inside(
    dsn: str,
    stream: Callable[..., Any] | None = None,
    *,
    invoke: Callable[..., Any] | None = None,
    recovery: Recovery | Callable[..., Any] = "prose",
    principal: Callable[[web.Request], str] | None = None,
    worker: bool = True,
    **settings: Any,
) -> AsyncIterator[Inside]:
    """A server of these handlers, with short leases."""
    agent = Agent(recovery=recovery)
    for register, handler in ((agent.stream, stream), (agent.invoke, invoke)):
        if handler is not None:
            register(handler)
    server = LongRunningAgentServer(agent=agent, dsn=dsn, **{**QUICK, **settings})
    server.with_worker = worker
    if principal is not None:
        server.principal = principal  # type: ignore[method-assign, assignment]
    async with serving(server) as running:
        yield running


def text_of(response: Event) -> str:
    """The text of a response object's output."""
    items = response["output"]
    return "".join(
        part["text"] for item in items if item["type"] == "message" for part in item["content"]
    )
