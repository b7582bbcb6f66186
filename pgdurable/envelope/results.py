"""What an invoke handler returns, as the items and fields of a response."""

from __future__ import annotations

from typing import Any, Final

from pgdurable.envelope.plain import plain
from pgdurable.envelope.shapes import shape_item
from pgdurable.errors import InvalidEvent

_RESPONSE_KEYS: Final = frozenset(
    {"output", "custom_outputs", "usage", "incomplete_details", "error", "status"}
)


def read_result(value: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The result's items, shaped, and the other fields of the response it stands for.

    A result is a text, an item, a list of either, or a response object with an `output`. Raises
    InvalidEvent for anything else.
    """
    result = plain(value)
    if isinstance(result, dict) and _is_response(result):
        output = result.get("output")
        if isinstance(output, dict):
            output = [output]
        elif output is not None and not isinstance(output, (str, list)):
            raise InvalidEvent(f"a response's output must be a list, not {type(output).__name__}")
        return _items(output), {k: v for k, v in result.items() if k != "output"}
    if isinstance(result, dict):
        return [shape_item(result)], {}
    if isinstance(result, (str, list)):
        return _items(result), {}
    raise InvalidEvent(
        f"an invoke handler must return text, items or a response, not {type(value).__name__}"
    )


def _is_response(result: dict[str, Any]) -> bool:
    if result.get("object") == "response":
        return True
    is_item = "type" in result or "role" in result or "call_id" in result
    return not is_item and not _RESPONSE_KEYS.isdisjoint(result)


def _items(output: str | list[Any] | None) -> list[dict[str, Any]]:
    if not output:
        return []
    return [shape_item(item) for item in ([output] if isinstance(output, str) else output)]
