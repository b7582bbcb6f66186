"""A request that points back: earlier items and responses, put where the handler looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pgdurable.agent.request import input_items
from pgdurable.database import queries
from pgdurable.database.queries import Conn
from pgdurable.errors import InvalidRequest
from pgdurable.models import ChainLink
from pgdurable.requests import references, with_history
from pgdurable.requests.parse import item_not_found


def refers_back(request: dict[str, Any]) -> bool:
    """Does it need anything from storage?"""
    return bool(request.get("previous_response_id")) or any(references(request.get("input")))


async def check(
    conn: Conn, *, previous_response_id: str | None, item_ids: Sequence[str], principal: str
) -> None:
    """Raise InvalidRequest for what the principal does not have; no stored body is read."""
    unknown = await queries.unknown_references(
        conn,
        principal=principal,
        response_ids=[] if previous_response_id is None else [previous_response_id],
        item_ids=item_ids,
    )
    if not unknown:
        return
    if unknown[0] == previous_response_id:
        raise _previous_not_found(previous_response_id)
    raise item_not_found(unknown[0])


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
            raise _previous_not_found(previous)
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


def _previous_not_found(response_id: str) -> InvalidRequest:
    return InvalidRequest(
        f"Previous response with id '{response_id}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )
