"""Stored rows -> response objects; pure."""

from __future__ import annotations

from typing import Any

import orjson

from pgdurable.agent.request import input_items
from pgdurable.envelope.response import response_object
from pgdurable.models import ListedResponse, ResponseSnapshot


def response_of_event(body: bytes) -> dict[str, Any]:
    """The response object inside a lifecycle event."""
    response: dict[str, Any] = orjson.loads(body)["response"]
    return response


def response_in(event: bytes) -> orjson.Fragment:
    """The same, not taken apart: for an event that SQL wrote; it is the last key there."""
    _, _, response = event.partition(b'"response":')
    return orjson.Fragment(response[:-1])


def response_of_snapshot(snapshot: ResponseSnapshot) -> dict[str, Any]:
    """The response as it stands: the final object, or what there is so far."""
    if snapshot.terminal is not None:
        return response_of_event(snapshot.terminal)
    closed = [orjson.loads(event) for event in snapshot.items or []]
    closed.sort(key=lambda event: event.get("output_index") or 0)
    return _unfinished(snapshot, [event["item"] for event in closed])


def response_of_row(row: ListedResponse) -> dict[str, Any]:
    """The same for one row of a page; items so far are not read for it."""
    if row.terminal is not None:
        return response_of_event(row.terminal)
    return _unfinished(row, [])


def _unfinished(row: ResponseSnapshot | ListedResponse, output: list[Any]) -> dict[str, Any]:
    fields = {**orjson.loads(row.fields), "background": row.background}
    return response_object(
        row.response_id, row.created_at, row.status, row.attempt, fields, output=output
    )


def listed_input_items(response_id: str, request: bytes) -> list[dict[str, Any]]:
    """A response's input items, each with an id of its own: SDKs page by it, and stop without."""
    digits = response_id.removeprefix("resp_")
    listed: list[dict[str, Any]] = []
    taken: set[str] = set()
    for index, item in enumerate(input_items(orjson.loads(request).get("input"))):
        if not isinstance(item, dict):  # release 0.1.0 took it from psql, and it has failed
            continue
        item_id = item.get("id")
        if not isinstance(item_id, str) or not item_id or item_id in taken:
            item_id = f"item_{digits}_{index}"
        taken.add(item_id)
        listed.append({**item, "id": item_id})
    return listed


def page(items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A list page, as the SDKs page."""
    return {
        "object": "list",
        "data": items,
        "has_more": has_more,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
    }
