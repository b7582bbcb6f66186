"""Bytes from a client -> a validated request, and what a response echoes of it; pure.

Only what the server itself must understand is checked (docs/wire.md 1): everything else, unknown
keys and item types included, is passed on to the handler as it was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pgdurable.agent.request import input_items
from pgdurable.errors import InvalidRequest
from pgdurable.requests.anchor import conversation_anchor
from pgdurable.requests.fields import NAMES, echoed, name_of_type, refused

MAX_DEPTH = 64
MAX_ID_BYTES = 1024

# orjson turns an integer that does not fit 64 bits into a float; such a run of digits is rare
# enough to ask a slower parser.
_MAYBE_TOO_LARGE = re.compile(rb"[0-9]{19}")


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A valid request.

    `body` is the object as sent, as compact JSON, to be stored; `data` is the same, parsed.
    `conversation_id` is the one the client named, before any rotation. `metadata` is for searching:
    U+0000, which jsonb cannot hold, is U+FFFD in it.
    """

    body: bytes
    data: dict[str, Any]
    stream: bool
    background: bool
    store: bool
    conversation_id: str | None
    previous_response_id: str | None
    item_references: list[str]
    metadata: dict[str, Any]


def parse_request(body: bytes, *, max_depth: int = MAX_DEPTH) -> ResponseRequest:
    """Return the request in `body`; InvalidRequest says what is wrong with it and where."""
    data = _parsed(body, max_depth)
    check_fields(data)
    if data.get("background") and data.get("store") is False:
        raise InvalidRequest(
            "A background response has to be stored: 'store' must not be false.", param="store"
        )
    metadata = data.get("metadata") or {}
    return ResponseRequest(
        body=orjson.dumps(data),
        data=data,
        stream=data.get("stream") or False,
        background=data.get("background") or False,
        store=data.get("store") is not False,
        conversation_id=_conversation_id(data),
        previous_response_id=_previous_response_id(data),
        item_references=list(references(data["input"])),
        metadata=metadata if b"\\u0000" not in body else _without_nul(metadata),
    )


def response_fields(request: ResponseRequest, *, model_default: str) -> bytes:
    """Return the fields of the response object that echo the request, as a JSON object.

    Everything but id, object, created_at, status, attempt_number, error, incomplete_details,
    output, background and usage.
    """
    return orjson.dumps(echoed(request.data, model_default=model_default))


def with_history(
    data: Mapping[str, Any],
    *,
    items: Mapping[str, Mapping[str, Any]],
    chain: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return a copy of the request whose input is complete, for the handler.

    `items` are the stored items by id, `chain` those of the responses before this one
    (`previous_response_id`), oldest first. Raises InvalidRequest for a reference to an item
    that is not in `items`.
    """
    given = input_items(data["input"])
    for index, item in enumerate(given):
        if _is_reference(item):
            item_id = item["id"]
            if item_id not in items:
                raise item_not_found(item_id)
            given[index] = items[item_id]
    return {**data, "input": [*chain, *given]}


def item_not_found(item_id: str) -> InvalidRequest:
    """The refusal of a reference to an item that is not there."""
    return InvalidRequest(f"Item with id '{item_id}' not found.", param="input")


def _parsed(body: bytes, max_depth: int) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(
            f"The request body is not valid JSON: {exc}.", code="invalid_json"
        ) from None
    if not isinstance(data, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_json")
    if body.count(b"{") + body.count(b"[") > max_depth and _is_deeper(data, max_depth):
        raise InvalidRequest(
            f"The request body is nested more than {max_depth} levels deep.", code="invalid_json"
        )
    if _MAYBE_TOO_LARGE.search(body):
        json.loads(body, parse_int=_integer_of_64_bits)
    return data


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _integer_of_64_bits(digits: str) -> int:
    if len(digits) <= 20:
        number = int(digits)
        if -(2**63) <= number < 2**64:
            return number
    raise InvalidRequest(
        f"The number {digits[:40]} in the request body does not fit 64 bits; send it as a string.",
        code="invalid_json",
    )


def check_fields(data: dict[str, Any]) -> None:
    """Raise InvalidRequest where a field that the server acts on is missing or of a wrong type."""
    for field in refused(data):
        value = data.get(field.name)
        if value is None:
            raise InvalidRequest(
                f"Missing required parameter: '{field.name}'.",
                param=field.name,
                code="missing_required_parameter",
            )
        raise _wrong_type(field.name, field.wanted, value)
    if isinstance(data["input"], list):
        for index, item in enumerate(data["input"]):
            if not isinstance(item, dict):
                raise _wrong_type(f"input[{index}]", NAMES["object"], item)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value


def _previous_response_id(data: dict[str, Any]) -> str | None:
    value = data.get("previous_response_id")
    return _id(value, "previous_response_id") if value else None


def _conversation_id(data: dict[str, Any]) -> str | None:
    anchor = conversation_anchor(data)
    return None if anchor is None else _id(anchor, "conversation")


def _id(value: Any, name: str) -> str:
    """Return an id that the database can look up; the other ones cannot exist there."""
    if not isinstance(value, str):
        raise _wrong_type(name, NAMES["string"], value)
    if "\0" in value or len(value.encode()) > MAX_ID_BYTES:
        raise InvalidRequest(
            f"'{name}' must be at most {MAX_ID_BYTES} bytes long, without U+0000.",
            param=name,
            code="invalid_id",
        )
    return value


def references(given: Any) -> Iterator[str]:
    """Yield the ids of the items that an input names instead of bringing them."""
    for index, item in enumerate(given):
        if _is_reference(item):
            yield _id(item.get("id"), f"input[{index}].id")


def _is_reference(item: Any) -> bool:
    """Whether an input item only names another; the type may be left out beside a lone id."""
    if not isinstance(item, dict):
        return False
    type_ = item.get("type")
    return type_ == "item_reference" or (
        type_ is None and bool(item) and item.keys() <= {"id", "type"}
    )


def _wrong_type(name: str, wanted: str, got: Any) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid type for '{name}': expected {wanted}, but got {name_of_type(got)}.",
        param=name,
        code="invalid_type",
    )
