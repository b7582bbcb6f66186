"""The blocking answer: wait for the terminal event without letting the connection look dead."""

from __future__ import annotations

import re
import time

import orjson
from aiohttp import web

from pgdurable.errors import ResponseNotFound
from pgdurable.events.hub import Feed
from pgdurable.models import Status
from pgdurable.server.keys import options_of, runtime_of
from pgdurable.server.objects import response_of_event, response_of_snapshot
from pgdurable.server.read import snapshot_of
from pgdurable.server.refusals import error_body, json_response, not_found, refusal
from pgdurable.server.streams import View, write

# How soon a client that has left is noticed, where the server does not say so by itself.
LOOK_SECONDS = 1.0
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])", re.IGNORECASE)


async def block(
    request: web.Request, feed: Feed, *, view: View, headers: dict[str, str]
) -> web.StreamResponse:
    """The final object; raises ConnectionResetError where the client has left.

    JSON allows leading white space: a byte of it every `keep_alive_seconds` keeps proxies and SDKs
    from cutting the connection and sending the request again. With `Prefer: wait=N` (RFC 7240) the
    answer after N seconds is 202 and the response as it was queued.
    """
    if (wait := _WAIT.search(",".join(request.headers.getall("prefer", ())))) is not None:
        if await _finished_within(request, feed, float(wait[1])):
            return await _final(request, feed, view, headers)
        return json_response(await _created(request, feed), status=202, headers=headers)
    keep_alive = options_of(request).settings.keep_alive_seconds
    if await _finished_within(request, feed, keep_alive):
        return await _final(request, feed, view, headers)
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    await response.prepare(request)
    while not await _finished_within(request, feed, keep_alive):
        await write(response, b" ")
    await write(response, orjson.dumps(await _late(request, feed, view)))
    await response.write_eof()
    return response


async def _finished_within(request: web.Request, feed: Feed, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (feed.finished or feed.deleted or feed.closing):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await feed.wait(min(left, LOOK_SECONDS))
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has left")
    return True


async def _final(
    request: web.Request, feed: Feed, view: View, headers: dict[str, str]
) -> web.Response:
    if feed.deleted:
        raise not_found(feed.response_id)
    if not feed.finished:
        message = f"The server is stopping; the response goes on: GET {headers['Location']}"
        answer = refusal(503, message, code="server_stopping", retry=False)
        answer.headers.update(headers)
        return answer
    event = await _event(request, feed, feed.last_seq)
    response = response_of_event(event)
    if response["status"] != Status.FAILED:
        return json_response(view.of_response(response), headers=headers)
    error = response.get("error") or {}
    code = error.get("code")
    status = 400 if code == "invalid_request" else 500
    answer = refusal(status, error.get("message") or "The agent failed.", code=code, retry=False)
    answer.headers.update(headers)
    return answer


async def _late(request: web.Request, feed: Feed, view: View) -> dict[str, object]:
    """The answer once 200 has gone out: the response with its status, which says the rest.

    A failed one is `failed`; one that goes on elsewhere, as this server stops, is `in_progress`.
    """
    try:
        if feed.finished:
            response = response_of_event(await _event(request, feed, feed.last_seq))
        else:
            response = response_of_snapshot(await snapshot_of(request, feed.response_id))
    except ResponseNotFound as exc:
        return error_body(str(exc))
    return view.of_response(response)


async def _created(request: web.Request, feed: Feed) -> dict[str, object]:
    return response_of_event(await _event(request, feed, 0))


async def _event(request: web.Request, feed: Feed, seq: int) -> bytes:
    """One stored event; the feed still has it, unless the log is long."""
    buffered = feed.after(seq - 1)
    if buffered:
        return buffered[0].body
    async for batch in runtime_of(request).hub.follow(feed, seq - 1, keep_alive=LOOK_SECONDS):
        if batch:
            return batch[0].body
    raise not_found(feed.response_id)
