"""Stored events -> the shortest list that says the same: one entry per output item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgdurable.envelope.kinds import BY_DELTA, BY_DONE, ITEM_ADDED, ITEM_DONE, LIFECYCLE, Kind
from pgdurable.envelope.previous import PreviousEvent


class _Item:
    """An output item as far as its events have told."""

    def __init__(self, attempt: int, item: dict[str, Any]) -> None:
        self.attempt = attempt
        self._item = item
        self._closed = False
        self._texts: dict[tuple[Kind, int], list[str]] = {}

    def reopen(self, item: dict[str, Any]) -> None:
        self._item = item

    def close(self, item: dict[str, Any]) -> None:
        self._item = {"status": "completed", **item}
        self._closed = True

    def add(self, kind: Kind, event: dict[str, Any], *, whole: bool) -> None:
        index = event.get(kind.index_key) if kind.index_key else 0
        pieces = self._texts.setdefault((kind, index if isinstance(index, int) else 0), [])
        if whole:
            pieces.clear()
        text = event.get(kind.text_key if whole else "delta")
        pieces.append(text if isinstance(text, str) else "")

    def entry(self) -> dict[str, Any]:
        item = self._item
        if not self._closed:
            item = {**item, **self._text_so_far(), "status": "incomplete"}
        return {"attempt": self.attempt, "item": item}

    def _text_so_far(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for (kind, _), pieces in sorted(self._texts.items(), key=lambda entry: entry[0][1]):
            text = "".join(pieces)
            if kind.part_type:
                part = {"type": kind.part_type, kind.text_key: text}
                fields.setdefault(kind.holder, []).append(part)
            else:
                fields[kind.holder] = text
        return fields


class _History:
    """Entries in the order in which the things they tell of began."""

    def __init__(self) -> None:
        self._entries: list[_Item | dict[str, Any]] = []
        self._items: dict[str, _Item] = {}

    def add(self, attempt: int, type_: str, event: dict[str, Any]) -> None:
        if type_ in LIFECYCLE:
            return
        kind = BY_DELTA.get(type_) or BY_DONE.get(type_)
        if type_ in (ITEM_ADDED, ITEM_DONE):
            self._add_item(attempt, event, closed=type_ == ITEM_DONE)
        elif kind is not None and "item_id" in event:
            self._item_of(attempt, event, kind).add(kind, event, whole=type_ == kind.done)
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

    def _item_of(self, attempt: int, event: dict[str, Any], kind: Kind) -> _Item:
        item_id = event["item_id"]
        return self._item(attempt, item_id, {"id": item_id, "type": kind.item_type})

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


def fold_events(events: Iterable[PreviousEvent]) -> list[dict[str, Any]]:
    """Return one entry per output item, and per other event that is not about the lifecycle.

    {"attempt", "item"}: the item as it was closed, or, with status "incomplete", with the text
    and arguments streamed so far. {"attempt", "event"}: an event of the handler's own type. An
    item belongs to the attempt that began it, also where a later one closed it.
    """
    history = _History()
    for _, attempt, type_, event in events:
        history.add(attempt, type_, event)
    return history.entries()
