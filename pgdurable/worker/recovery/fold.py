"""Stored events -> the shortest list that says the same: one entry per output item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

StoredEvent = tuple[int, str, bytes]
"""(attempt, type, body): one event of an earlier attempt, body as stored."""

_LIFECYCLE = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.resumed",
        "response.completed",
        "response.failed",
        "response.incomplete",
    }
)


class _Target(NamedTuple):
    """Where a delta's text belongs in its item."""

    item_type: str
    field: str
    index_key: str | None = None
    part_type: str = ""
    text_key: str = "text"

    @property
    def whole_key(self) -> str:
        """The key of the `.done` event that repeats the whole text."""
        return self.text_key if self.index_key else self.field


# PROTOCOL: the event families that stream text, by what precedes `.delta` and `.done`.
_TARGETS = {
    "response.output_text": _Target("message", "content", "content_index", "output_text"),
    "response.refusal": _Target("message", "content", "content_index", "refusal", "refusal"),
    "response.reasoning_text": _Target("reasoning", "content", "content_index", "reasoning_text"),
    "response.reasoning_summary_text": _Target(
        "reasoning", "summary", "summary_index", "summary_text"
    ),
    "response.function_call_arguments": _Target("function_call", "arguments"),
    "response.custom_tool_call_input": _Target("custom_tool_call", "input"),
    "response.mcp_call_arguments": _Target("mcp_call", "arguments"),
    "response.code_interpreter_call_code": _Target("code_interpreter_call", "code"),
}


class _Item:
    """An output item as far as its events have told."""

    def __init__(self, attempt: int, item: dict[str, Any]) -> None:
        self.attempt = attempt
        self._item = item
        self._closed = False
        self._texts: dict[tuple[_Target, int], list[str]] = {}

    def reopen(self, item: dict[str, Any]) -> None:
        self._item = item

    def close(self, item: dict[str, Any]) -> None:
        self._item = {"status": "completed", **item}
        self._closed = True

    def add(self, target: _Target, event: dict[str, Any], *, whole: bool) -> None:
        index = event.get(target.index_key) if target.index_key else 0
        pieces = self._texts.setdefault((target, index if isinstance(index, int) else 0), [])
        if whole:
            pieces.clear()
        text = event.get(target.whole_key if whole else "delta")
        pieces.append(text if isinstance(text, str) else "")

    def entry(self) -> dict[str, Any]:
        item = self._item
        if not self._closed:
            item = {**item, **self._text_so_far(), "status": "incomplete"}
        return {"attempt": self.attempt, "item": item}

    def _text_so_far(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for (target, _), pieces in sorted(self._texts.items(), key=lambda entry: entry[0][1]):
            text = "".join(pieces)
            if target.index_key:
                part = {"type": target.part_type, target.text_key: text}
                fields.setdefault(target.field, []).append(part)
            else:
                fields[target.field] = text
        return fields


class _Log:
    """Entries in the order in which the things they tell of began."""

    def __init__(self) -> None:
        self._entries: list[_Item | dict[str, Any]] = []
        self._items: dict[str, _Item] = {}

    def add(self, attempt: int, type_: str, body: bytes) -> None:
        if type_ in _LIFECYCLE:
            return
        event = _decoded(type_, body)
        family, _, step = type_.rpartition(".")
        if type_ in ("response.output_item.added", "response.output_item.done"):
            self._add_item(attempt, event, closed=step == "done")
        elif family in _TARGETS and step in ("delta", "done") and "item_id" in event:
            target = _TARGETS[family]
            self._item_of(attempt, event, target).add(target, event, whole=step == "done")
        elif not (type_.startswith("response.") and "item_id" in event):
            self._entries.append({"attempt": attempt, "event": event})

    def _add_item(self, attempt: int, event: dict[str, Any], *, closed: bool) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            self._entries.append({"attempt": attempt, "event": event})
            return
        known = self._item(attempt, item.get("id"), item)
        if closed:
            known.close(item)
        else:
            known.reopen(item)

    def _item_of(self, attempt: int, event: dict[str, Any], target: _Target) -> _Item:
        item_id = event["item_id"]
        return self._item(attempt, item_id, {"id": item_id, "type": target.item_type})

    def _item(self, attempt: int, item_id: object, item: dict[str, Any]) -> _Item:
        """Return the item with this id; a new one where there is none, or no id to know it by."""
        known = self._items.get(item_id) if isinstance(item_id, str) else None
        if known is None:
            known = _Item(attempt, item)
            self._entries.append(known)
            if isinstance(item_id, str):
                self._items[item_id] = known
        return known

    def entries(self) -> list[dict[str, Any]]:
        return [entry.entry() if isinstance(entry, _Item) else entry for entry in self._entries]


def fold_events(events: Iterable[StoredEvent]) -> list[dict[str, Any]]:
    """Return one entry per output item, and per other event that is not about the lifecycle.

    {"attempt", "item"}: the item as it was closed, or, with status "incomplete", with the text
    and arguments streamed so far. {"attempt", "event"}: an event of the handler's own type. An
    item belongs to the attempt that began it, whoever closed it.
    """
    log = _Log()
    for attempt, type_, body in events:
        log.add(attempt, type_, body)
    return log.entries()


def _decoded(type_: str, body: bytes) -> dict[str, Any]:
    """Return the event; a mere note of its type where its JSON is beyond us.

    The log accepts any JSON that Postgres does, written by hand for instance: lone surrogates,
    numbers without a float, hundreds of levels.
    """
    try:
        event = orjson.loads(body)
        if not type_.endswith(".delta"):
            orjson.dumps(event)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        event = None
    return event if isinstance(event, dict) else {"type": type_, "unreadable": True}
