"""What earlier attempts left behind: open items to close, and names that may not be used again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from pgdurable.envelope.item import Item
from pgdurable.envelope.kinds import (
    ANNOTATION_ADDED,
    BY_DELTA,
    BY_DONE,
    BY_PART,
    CALL_IDENTITY,
    CLOSINGS,
    FIELDS,
    INDEX_KEYS,
    ITEM_ADDED,
    ITEM_DONE,
    OPENINGS,
)
from pgdurable.envelope.ledger import Announced, Ledger
from pgdurable.envelope.part import Opaque, Part
from pgdurable.envelope.previous import PreviousEvent
from pgdurable.models import NewEvent


def close_orphans(previous: Iterable[PreviousEvent], ledger: Ledger) -> list[NewEvent]:
    """Read all stored events; returns the events that close what is still open.

    The stored events are this module's own output, so they are trusted to be well-formed. After
    this the ledger goes on behind the highest output index and refuses the names seen.
    """
    open_items: dict[str, Item] = {}
    for _, _, event_type, event in previous:
        if event_type == ITEM_ADDED:
            item = _announced(event)
            open_items[item.id] = item
            _remember(item, event["output_index"], ledger)
        elif event_type == ITEM_DONE:
            open_items.pop(event["item"]["id"], None)
        elif event_type in _READERS and open_items:
            orphan = open_items.get(event["item_id"])
            if orphan is not None:
                _READERS[event_type](orphan, event)
    out: list[NewEvent] = []
    for item in sorted(open_items.values(), key=lambda item: item.index):
        item.close("incomplete", out)
    return out


def announced_items(previous: Iterable[PreviousEvent]) -> dict[int, Announced]:
    """The items that stored events announce, by output index."""
    return {
        event["output_index"]: Announced(*map(event["item"].get, Announced._fields))
        for _, _, event_type, event in previous
        if event_type == ITEM_ADDED
    }


def closed_items(events: Iterable[dict[str, Any]]) -> list[tuple[int, bytes]]:
    """(output_index, JSON) of the items that these events close."""
    return [
        (event["output_index"], orjson.dumps(event["item"]))
        for event in events
        if event["type"] == ITEM_DONE
    ]


def _announced(event: dict[str, Any]) -> Item:
    shell = event["item"]
    item = Item(shell["type"], shell["id"])
    item.index = event["output_index"]
    item.call_id = shell.get("call_id")
    item.declared = shell
    item.announced = True
    return item


def _remember(item: Item, index: int, ledger: Ledger) -> None:
    ledger.next_index = max(ledger.next_index, index + 1)
    ledger.used_ids.add(item.id)
    if item.type in CALL_IDENTITY and item.call_id is not None:
        ledger.used_calls.add((item.type, item.call_id))


def _part_added(item: Item, event: dict[str, Any]) -> None:
    holder = "content" if event["type"] == OPENINGS["content"] else "summary"
    index, shell = event[INDEX_KEYS[holder]], event["part"]
    kind = BY_PART.get((item.type, holder, shell["type"]))
    part = Part(item, kind, index) if kind is not None else Opaque(item, shell, index)
    if isinstance(part, Part):
        part.open([])
    item.lists[holder].append(part)
    item.inner_parts[holder, index] = part


def _part_done(item: Item, event: dict[str, Any]) -> None:
    holder = "content" if event["type"] == CLOSINGS["content"] else "summary"
    item.inner_parts[holder, event[INDEX_KEYS[holder]]].closed = True


def _delta(item: Item, event: dict[str, Any]) -> None:
    _text_part(item, event).pieces.append(event["delta"])


def _text_done(item: Item, event: dict[str, Any]) -> None:
    part = _text_part(item, event)
    part.text = event[part.kind.text_key]


def _annotation(item: Item, event: dict[str, Any]) -> None:
    part = item.inner_parts["content", event["content_index"]]
    if isinstance(part, Part):
        part.annotations.append(event["annotation"])


def _text_part(item: Item, event: dict[str, Any]) -> Part:
    kind = BY_DELTA.get(event["type"]) or BY_DONE[event["type"]]
    if kind.index_key is None:
        return item.text_part(FIELDS[item.type], None, [])
    return item.text_part(kind, event[kind.index_key], [])


_READERS = {
    OPENINGS["content"]: _part_added,
    OPENINGS["summary"]: _part_added,
    CLOSINGS["content"]: _part_done,
    CLOSINGS["summary"]: _part_done,
    ANNOTATION_ADDED: _annotation,
    **dict.fromkeys(BY_DELTA, _delta),
    **dict.fromkeys(BY_DONE, _text_done),
}
