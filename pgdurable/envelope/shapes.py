"""Output items as authors write them, brought to the shape the wire asks for (docs/wire.md 2)."""

from __future__ import annotations

from typing import Any

from pgdurable.envelope.kinds import BY_PART, FIELDS, LISTS
from pgdurable.envelope.plain import MAX_EVENT_BYTES, MAX_OUTPUT_BYTES, encode
from pgdurable.errors import InvalidEvent

_STATUSES = ("completed", "incomplete", "failed")
_TEXT_PARTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text")
"""Names of a text part; accumulators accept one of them, depending on the list it is in."""


def shape_item(value: object) -> dict[str, Any]:
    """A plain value as an output item: typed, its texts where they belong.

    A str is a message. Raises InvalidEvent for what cannot be an item, and for items whose
    fields, texts apart, exceed MAX_EVENT_BYTES.
    """
    if isinstance(value, str):
        value = {"type": "message", "content": value}
    if not isinstance(value, dict):
        raise InvalidEvent(f"an output item must be an object, not {type(value).__name__}")
    item = {"type": _item_type(value)} | {k: v for k, v in value.items() if k != "type"}
    if item["type"] == "message":
        item["content"] = _parts(item.get("content"), "output_text")
        item["role"] = item.get("role") or "assistant"
    elif item["type"] == "reasoning":
        item["summary"] = _parts(item.get("summary"), "summary_text")
        if item.get("content") is not None:
            item["content"] = _parts(item["content"], "reasoning_text")
    elif item["type"] == "function_call_output":
        item["output"] = _output(item.get("output"))
    kind = FIELDS.get(item["type"])
    if kind is not None and (kind.always_streamed or item.get(kind.holder) is not None):
        item[kind.holder] = _as_text(item.get(kind.holder))
    _check_size(item)
    return item


def shape_part(value: object, part_type: str) -> dict[str, Any]:
    """A plain value as a content part; part_type is what text is called in its list."""
    if isinstance(value, str):
        return {"type": part_type, "text": value}
    if not isinstance(value, dict):
        raise InvalidEvent(f"a content part must be an object, not {type(value).__name__}")
    part = dict(value)
    kind = part.get("type")
    if kind is None or kind in _TEXT_PARTS:
        part["type"] = "refusal" if kind is None and "refusal" in part else part_type
    elif not isinstance(kind, str):
        raise InvalidEvent("a content part's type must be a string")
    if part["type"] == "refusal":
        part["refusal"] = _as_text(part.get("refusal"))
    elif part["type"] == part_type:
        part["text"] = _as_text(part.get("text"))
    if part["type"] == "output_text" and not isinstance(part.get("annotations"), list):
        part["annotations"] = []
    return part


def final_status(item: dict[str, Any]) -> str:
    """The status a closed item keeps: the author's if it is a final one, else completed."""
    status = item.get("status")
    return status if status in _STATUSES else "completed"


def texts(item: dict[str, Any]) -> str:
    """All streamed text of a shaped item in one string, to tell whether two items are the same."""
    kind = FIELDS.get(item["type"])
    if kind is not None:
        return item.get(kind.holder) or ""
    return "".join(
        part[streamed.text_key]
        for holder in LISTS.get(item["type"], ())
        for part in item.get(holder) or ()
        if (streamed := BY_PART.get((item["type"], holder, part["type"]))) is not None
    )


def _item_type(value: dict[str, Any]) -> str:
    kind = value.get("type")
    if kind is None:
        if "role" in value and "content" in value:
            return "message"
        if "call_id" in value and "output" in value:
            return "function_call_output"
        if "name" in value and "arguments" in value:
            return "function_call"
        raise InvalidEvent("an output item needs a type")
    if not isinstance(kind, str) or not kind:
        raise InvalidEvent("an output item's type must be a string")
    return kind


def _parts(value: object, part_type: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, (str, dict)):
        value = [value]
    if not isinstance(value, list):
        raise InvalidEvent(f"an item's content must be a list, not {type(value).__name__}")
    return [shape_part(part, part_type) for part in value]


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value).decode()


def _output(value: object) -> str | list[Any]:
    return value if isinstance(value, list) else _as_text(value)


def _check_size(item: dict[str, Any]) -> None:
    size = len(encode(item))
    if size > MAX_OUTPUT_BYTES:
        raise InvalidEvent(f"item of {size} bytes exceeds the limit of {MAX_OUTPUT_BYTES}")
    if size > MAX_EVENT_BYTES and size - len(encode(texts(item))) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"item of {size} bytes exceeds the limit of {MAX_EVENT_BYTES}")
