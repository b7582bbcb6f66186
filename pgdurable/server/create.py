"""POST: blocking, stream, background, background and stream; one engine behind all four.

Every response is durable before its first byte goes out. A foreground client that leaves cancels
its response (`on_disconnect`); a background one never does, and neither does one that has sent an
Idempotency-Key, because that is how it comes back.
"""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from pgdurable import errors
from pgdurable.database import connections, queries
from pgdurable.database.queries import NewResponse
from pgdurable.events.hub import Feed
from pgdurable.ids import new_response_id
from pgdurable.models import EnqueuedResponse
from pgdurable.requests import ResponseRequest, chain, parse_request, response_fields
from pgdurable.server.blocking import block
from pgdurable.server.keys import options_of, principal_of, runtime_of
from pgdurable.server.objects import response_in, response_of_snapshot
from pgdurable.server.refusals import json_response, refusal
from pgdurable.server.streams import View, stream

BODY_TIMEOUT_SECONDS = 30.0
MAX_KEY_CHARACTERS = 255


async def create(request: web.Request) -> web.StreamResponse:
    """POST /responses, /v1/responses, /invocations."""
    if runtime_of(request).overloaded:
        return refusal(503, "Too many responses are waiting to be stored.", retry=True)
    sent = parse_request(await _body(request))
    view = View.of(request)
    await _check_references(request, sent)
    runtime = runtime_of(request)
    new = _new_response(request, sent)
    headers = {name.lower(): value for name, value in request.headers.items()}
    if sent.background and not sent.stream:
        enqueued = await runtime.enqueue(new, headers)
        if enqueued.outcome == "created" and enqueued.event is not None:
            queued = response_in(enqueued.event)
            return json_response(queued, headers=_headers(request, enqueued.response_id))
    else:
        async with runtime.hub.open(new.response_id) as feed:
            enqueued = await runtime.enqueue(new, headers)
            if enqueued.outcome == "created" and enqueued.event is not None:
                runtime.publish_created(enqueued)
                return await _answer(request, sent, enqueued, feed, view)
    return await _attach(request, sent, enqueued, view)


async def _body(request: web.Request) -> bytes:
    if request.content.is_eof():  # it came with the headers: nothing to wait for
        return await request.read()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise errors.InvalidRequest(
            "The request body does not have its Content-Encoding."
        ) from None


def _new_response(request: web.Request, sent: ResponseRequest) -> NewResponse:
    return NewResponse(
        response_id=new_response_id(),
        principal=principal_of(request),
        conversation_id=sent.conversation_id,
        previous_response_id=sent.previous_response_id,
        idempotency_key=_idempotency_key(request),
        background=sent.background,
        store=sent.store,
        metadata=orjson.dumps(sent.metadata),
        request=sent.body,
        fields=response_fields(sent, model_default=options_of(request).agent_name),
    )


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("idempotency-key") or None
    if key is not None and len(key) > MAX_KEY_CHARACTERS:
        raise errors.InvalidRequest(
            f"The Idempotency-Key has more than {MAX_KEY_CHARACTERS} characters."
        )
    if key is not None and any("\ud800" <= letter <= "\udfff" for letter in key):
        raise errors.InvalidRequest("The Idempotency-Key is not UTF-8.")
    return key


async def _check_references(request: web.Request, sent: ResponseRequest) -> None:
    """Refuse what points to nothing now, rather than in the handler."""
    if sent.previous_response_id or sent.item_references:
        async with runtime_of(request).pool.connection() as conn:
            await chain.check(
                conn,
                previous_response_id=sent.previous_response_id,
                item_ids=sent.item_references,
                principal=principal_of(request),
            )


async def _attach(
    request: web.Request, sent: ResponseRequest, enqueued: EnqueuedResponse, view: View
) -> web.StreamResponse:
    """The key was used before, for the same request: answer with the response it made."""
    runtime = runtime_of(request)
    async with runtime.hub.open(enqueued.response_id) as feed:
        async with runtime.pool.connection() as conn:
            snapshot = await queries.get_response(
                conn, response_id=enqueued.response_id, principal=principal_of(request)
            )
        feed.seen(snapshot.last_seq, finished=snapshot.status.is_terminal)
        if sent.background and not sent.stream:
            response = view.of_response(response_of_snapshot(snapshot))
            return json_response(response, headers=_headers(request, enqueued.response_id))
        return await _answer(request, sent, enqueued, feed, view)


async def _answer(
    request: web.Request,
    sent: ResponseRequest,
    enqueued: EnqueuedResponse,
    feed: Feed,
    view: View,
) -> web.StreamResponse:
    headers = _headers(request, enqueued.response_id)
    left = False
    try:
        if sent.stream:
            return await stream(request, feed, cursor=-1, view=view, headers=headers)
        return await block(request, feed, view=view, headers=headers)
    except (ConnectionResetError, asyncio.CancelledError):
        left = not feed.closing
        raise
    finally:
        if not sent.background:
            await asyncio.shield(_after_foreground(request, sent, feed, left=left))


def _headers(request: web.Request, response_id: str) -> dict[str, str]:
    mount = request.path.removesuffix("/invocations").removesuffix("/responses")
    return {"Location": f"{mount}/responses/{response_id}", "X-Response-Id": response_id}


async def _after_foreground(
    request: web.Request, sent: ResponseRequest, feed: Feed, *, left: bool
) -> None:
    """Cancel what nobody waits for, and delete what is not to be stored."""
    cancels = (
        left
        and not feed.finished
        and options_of(request).settings.on_disconnect == "cancel"
        and _idempotency_key(request) is None
    )
    if not (cancels or (feed.finished and not sent.store)):
        return
    runtime, principal = runtime_of(request), principal_of(request)

    async def end() -> None:
        try:
            async with runtime.pool.connection() as conn:
                if sent.store:
                    await queries.cancel_response(
                        conn, response_id=feed.response_id, principal=principal
                    )
                    runtime.cancelled(feed.response_id)
                else:
                    await queries.delete_response(
                        conn, response_id=feed.response_id, principal=principal
                    )
                    runtime.deleted(feed.response_id)
        except errors.DatabaseRefused:
            pass  # it has ended meanwhile
        except Exception:
            if not feed.closing:  # nobody else would do it when the database is back
                raise

    await connections.through_outages(end)
