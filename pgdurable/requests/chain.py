"""A request that points back: earlier items and responses, put where the handler looks for them."""

from __future__ import annotations

from typing import Any

import orjson

from pgdurable.agent.request import input_items
from pgdurable.database import queries
from pgdurable.database.queries import Conn
from pgdurable.errors import InvalidRequest
from pgdurable.models import ChainLink
from pgdurable.requests import references, with_history


def refers_back(request: dict[str, Any]) -> bool:
    """Does it need anything from storage?"""
    return bool(request.get("previous_response_id")) or any(references(request.get("input")))


async def expand(conn: Conn, request: dict[str, Any], *, principal: str) -> dict[str, Any]:
    """The request with the chain's items before its input, and references replaced by their items.

    Within the principal; raises InvalidRequest that names what is unknown.
    """
    chain: list[dict[str, Any]] = []
    if previous := request.get("previous_response_id"):
        if not isinstance(previous, str):
            raise InvalidRequest(
                "'previous_response_id' must be a string.", param="previous_response_id"
            )
        links = await queries.read_chain(conn, principal=principal, previous_response_id=previous)
        if not links or links[-1].response_id != previous:
            raise InvalidRequest(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        chain = [item for link in links for item in _items(link)]
    item_ids = {*references(request.get("input")), *references(chain)}
    items: dict[str, dict[str, Any]] = {}
    if item_ids:
        stored = await queries.read_items(conn, principal=principal, item_ids=sorted(item_ids))
        items = {row.item_id: orjson.loads(row.event)["item"] for row in stored}
    completed = with_history({"input": chain}, items=items)["input"] if chain else []
    return with_history(request, items=items, chain=completed)


def _items(link: ChainLink) -> list[dict[str, Any]]:
    """What a response was asked and what it answered."""
    asked = input_items(orjson.loads(link.request).get("input"))
    answered = orjson.loads(link.terminal)["response"]["output"] if link.terminal else []
    return [*asked, *answered]
