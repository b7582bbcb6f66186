"""GET: poll, tail, input items, the list, and conversations. A GET changes nothing."""

from __future__ import annotations

import re

import orjson
from aiohttp import web

from pgdurable.database import queries
from pgdurable.errors import InvalidRequest
from pgdurable.events import sse
from pgdurable.models import ResponseSnapshot, Status
from pgdurable.server.keys import principal_of, runtime_of
from pgdurable.server.objects import (
    listed_input_items,
    page,
    response_of_row,
    response_of_snapshot,
)
from pgdurable.server.refusals import json_response, not_found, refusal
from pgdurable.server.streams import View, stream

RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
DEFAULT_LIMIT = 20
MAX_LIMIT = 100


def response_id_of(request: web.Request) -> str:
    """The id in the path; what cannot be an id is as unknown as any other."""
    response_id = request.match_info["response_id"]
    if not RESPONSE_ID.fullmatch(response_id):
        raise not_found(response_id[:100])
    return response_id


async def snapshot_of(request: web.Request, response_id: str) -> ResponseSnapshot:
    """The response as this principal sees it; raises ResponseNotFound."""
    async with runtime_of(request).pool.connection() as conn:
        return await queries.get_response(
            conn, response_id=response_id, principal=principal_of(request)
        )


async def retrieve(request: web.Request) -> web.StreamResponse:
    """GET /responses/{id}, as an object or with `?stream=true` as its stream."""
    response_id = response_id_of(request)
    view = View.of(request)
    headers = {"Location": request.path, "X-Response-Id": response_id}
    if not sse.boolean(request.query, "stream"):
        snapshot = await snapshot_of(request, response_id)
        response = view.of_response(response_of_snapshot(snapshot))
        return json_response(response, headers=headers)
    cursor = sse.cursor(request.query, request.headers)
    async with runtime_of(request).hub.open(response_id) as feed:
        snapshot = await snapshot_of(request, response_id)
        feed.seen(snapshot.last_seq, finished=snapshot.status.is_terminal)
        return await stream(
            request,
            feed,
            cursor=snapshot.last_seq if cursor == "now" else cursor,
            view=view,
            headers=headers,
        )


async def input_items(request: web.Request) -> web.Response:
    """GET /responses/{id}/input_items, paged as the SDKs page."""
    response_id = response_id_of(request)
    async with runtime_of(request).pool.connection() as conn:
        body = await queries.get_request(
            conn, response_id=response_id, principal=principal_of(request)
        )
    items = listed_input_items(response_id, body)
    if not _ascending(request):
        items.reverse()
    limit = _limit(request)
    if after := request.query.get("after"):
        positions = [index for index, item in enumerate(items) if item["id"] == after]
        if not positions:
            raise InvalidRequest(f"There is no input item '{after[:100]}'.", param="after")
        items = items[positions[0] + 1 :]
    return json_response(page(items[:limit], has_more=len(items) > limit))


async def list_responses(request: web.Request) -> web.Response:
    """GET /responses?status=&conversation=&metadata.KEY=&after=&limit=&order=."""
    limit = _limit(request)
    view = View.of(request)
    async with runtime_of(request).pool.connection() as conn:
        rows = await queries.list_responses(
            conn,
            principal=principal_of(request),
            status=_status(request),
            conversation_id=_text(request, "conversation"),
            metadata={
                key.removeprefix("metadata."): _text(request, key)
                for key in request.query
                if key.startswith("metadata.")
            },
            after=_text(request, "after") or None,
            limit=limit + 1,
            ascending=_ascending(request),
        )
    data = [view.of_response(response_of_row(row)) for row in rows[:limit]]
    return json_response(page(data, has_more=len(rows) > limit))


async def conversation(request: web.Request) -> web.Response:
    """GET /conversations/{base_id}: where it is now, and what runs in it."""
    base = request.match_info["base_id"]
    found = None
    if "\0" not in base:
        async with runtime_of(request).pool.connection() as conn:
            found = await queries.get_conversation(conn, principal=principal_of(request), base=base)
    if found is None:
        return refusal(404, f"Conversation with id '{base[:100]}' not found.")
    return json_response(
        {
            "id": found.base_conversation_id,
            "object": "conversation",
            "current_conversation_id": found.current_conversation_id,
            "active_response_id": found.active_response_id,
            "latest_response_id": found.latest_response_id,
            "rotations": orjson.loads(found.rotations),
        }
    )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"'limit' must be between 1 and {MAX_LIMIT}.", param="limit")
    return int(text)


def _ascending(request: web.Request) -> bool:
    order = request.query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order")
    return order == "asc"


def _status(request: web.Request) -> Status | None:
    text = request.query.get("status")
    if text is None:
        return None
    if text not in [str(status) for status in Status]:
        raise InvalidRequest(f"'status' must be one of {', '.join(Status)}.", param="status")
    return Status(text)


def _text(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    if text is not None and "\0" in name + text:
        raise InvalidRequest(f"'{name[:100]}' must not contain U+0000.", param=name[:100])
    return text
