"""A feed -> SSE on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from pgdurable.events import sse
from pgdurable.events.hub import Entry, Feed
from pgdurable.logs import LogEvent, log
from pgdurable.server.keys import options_of, runtime_of
from pgdurable.server.view import Choices, Projection, project_response

logger = logging.getLogger(__name__)

# A client that takes nothing for this long is dropped; it can come back with its cursor.
WRITE_TIMEOUT_SECONDS = 30.0
# A batch as long as this is history; live ones are shorter, and share their encoded frames.
REPLAY_EVENTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one reader wants to see a stream; nothing of it is stored."""

    choices: Choices
    label: str
    event_ids: bool = False
    trace_id: bool = False

    @classmethod
    def of(cls, request: web.Request) -> View:
        """From query and headers; raises InvalidRequest."""
        settings = options_of(request).settings
        return cls(
            choices=Choices.of(
                request.query, tools=settings.tools, resume_marker=settings.resume_marker
            ),
            label=options_of(request).agent_name,
            event_ids=sse.boolean(request.query, "event_ids") or "last-event-id" in request.headers,
            trace_id=wants_trace_id(request),
        )

    def of_response(self, response: dict[str, Any]) -> dict[str, Any]:
        """A response object as this reader wants to see it."""
        return project_response(response, self.choices, label=self.label)


def wants_trace_id(request: web.Request) -> bool:
    """MLflow's header."""
    return request.headers.get("x-mlflow-return-trace-id", "").strip().lower() == "true"


async def stream(
    request: web.Request, feed: Feed, *, cursor: int, view: View, headers: dict[str, str]
) -> web.StreamResponse:
    """Everything after the cursor, to the end of the log; then `[DONE]` and EOF.

    Raises ConnectionResetError where the client has left.
    """
    response = web.StreamResponse(headers={**sse.HEADERS, **headers})
    response.force_close()  # clients wait for EOF after [DONE]
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    keep_alive = sse.KEEP_ALIVE_WITH_IDS if view.event_ids else sse.KEEP_ALIVE
    encode = await _encoder(request, feed.response_id, cursor, view)
    last: Entry | None = None
    async with contextlib.aclosing(_followed(request, feed, cursor)) as batches:
        async for batch in batches:
            # A projection may hold a whole batch back; the client must hear something.
            await write(response, (encode(batch) if batch else b"") or keep_alive)
            last = batch[-1] if batch else last
    if feed.closing:
        return response  # the process stops: no [DONE], so that the client comes back
    if feed.deleted:
        await write(response, _gone(feed))
    elif view.trace_id and last is not None and (trace_id := _trace_id(last)):
        await write(response, b'data: {"trace_id":%b}\n\n' % orjson.dumps(trace_id))
    await write(response, sse.DONE)
    await response.write_eof()
    return response


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Write, and give up on a client that does not read; nobody else waits for it."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            await response.write(data)
    except TimeoutError:
        log(logger, logging.INFO, LogEvent.READER_DROPPED, seconds=WRITE_TIMEOUT_SECONDS)
        raise ConnectionResetError("the client does not read") from None


def _followed(request: web.Request, feed: Feed, cursor: int) -> AsyncGenerator[list[Entry], None]:
    keep_alive = options_of(request).settings.keep_alive_seconds
    return runtime_of(request).hub.follow(feed, cursor, keep_alive=keep_alive)


async def _encoder(request: web.Request, response_id: str, cursor: int, view: View) -> Any:
    """How a batch becomes bytes: the shared frames, unless this reader wants something else."""
    if view.choices.is_identity:
        return _with_ids if view.event_ids else _shared
    projected = Projection(view.choices, label=view.label, after=cursor)
    async for batch in runtime_of(request).hub.replay(response_id, until=cursor):
        projected.project(batch)  # what it has seen before decides how it goes on
    return lambda batch: sse.frames(response_id, projected.project(batch), event_ids=view.event_ids)


def _shared(batch: list[Entry]) -> bytes:
    if len(batch) > REPLAY_EVENTS:  # read for this reader alone: encode in one go
        return sse.frames(batch[0].response_id, [(entry.seq, entry.body) for entry in batch])
    return b"".join([entry.frame for entry in batch])


def _with_ids(batch: list[Entry]) -> bytes:
    return sse.frames(
        batch[0].response_id, [(entry.seq, entry.body) for entry in batch], event_ids=True
    )


def _trace_id(last: Entry) -> Any:
    if not last.is_terminal:
        return None
    return (orjson.loads(last.body)["response"].get("metadata") or {}).get("trace_id")


def _gone(feed: Feed) -> bytes:
    """The one event that is not in the log: there is no log any more."""
    error = {
        "type": "error",
        "code": "response_not_found",
        "message": f"Response with id '{feed.response_id}' was deleted.",
        "param": None,
    }
    return sse.frame(feed.response_id, feed.last_seq + 1, orjson.dumps(error))
