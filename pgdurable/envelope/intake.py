"""A handler's event objects, one method per family, applied to the ledger and the ending.

Every method checks its whole event before it changes anything: after InvalidEvent the stream so
far is still well-formed and can be closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pgdurable.envelope.ending import Ending
from pgdurable.envelope.item import Item
from pgdurable.envelope.kinds import (
    ANNOTATION_ADDED,
    BY_DELTA,
    BY_DONE,
    CLOSINGS,
    FIELDS,
    INDEX_KEYS,
    INNER_TERMINAL,
    ITEM_ADDED,
    ITEM_DONE,
    ITEM_PROGRESS,
    LISTS,
    NEEDED,
    OPENINGS,
    RESERVED,
    TEXT,
    Kind,
)
from pgdurable.envelope.ledger import Ledger
from pgdurable.envelope.part import Part
from pgdurable.envelope.plain import MAX_EVENT_BYTES, encode, event_type
from pgdurable.envelope.shapes import final_status, shape_item, shape_part
from pgdurable.errors import InvalidEvent
from pgdurable.models import NewEvent

DELTA_KEYS: Final = frozenset(
    {
        "type",
        "item_id",
        "output_index",
        "content_index",
        "summary_index",
        "delta",
        "logprobs",
        "sequence_number",
        "response_id",
        "obfuscation",
        "error",
    }
)
"""Keys of a delta that are ours to write or to leave out; any other one is passed on."""

_NEVER_PASSED: Final = ("type", "sequence_number", "response_id", "error")
_UNTYPED_PARTS: Final = {
    "content": ("message", "output_text"),
    "summary": ("reasoning", "summary_text"),
}


class Intake:
    """Applies plain event dicts; what it returns are the events to store."""

    def __init__(self, ledger: Ledger, ending: Ending) -> None:
        self._ledger = ledger
        self._ending = ending
        self.written: Part | None = None
        """The part the last event, a delta, went to: the next one may be taken by the fast path."""

    def take(self, event: dict[str, Any]) -> list[NewEvent]:
        self.written = None
        if event.get("type") is None:
            if "trace_id" in event:
                self._ending.annotate({"trace_id": event["trace_id"]})
                return []
            if event.get("error"):
                return self._error(event)
        return _FAMILIES.get(event_type(event), Intake._unknown)(self, event)

    def whole_items(self, items: list[dict[str, Any]]) -> list[NewEvent]:
        """Shaped items that were never streamed, each from its announcement to its closing."""
        out: list[NewEvent] = []
        for item in items:
            self._whole_item(item, _text(item.get("id")), None, out)
        return out

    def _delta(self, event: dict[str, Any]) -> list[NewEvent]:
        kind = BY_DELTA[event["type"]]
        delta = event.get("delta")
        if not isinstance(delta, str):
            raise InvalidEvent(f"{kind.delta}: delta must be a string")
        extras = {k: v for k, v in event.items() if k not in DELTA_KEYS}
        if isinstance(event.get("logprobs"), list) and event["logprobs"]:
            extras["logprobs"] = event["logprobs"]
        if extras:
            _check_size(extras)
        out: list[NewEvent] = []
        if delta:
            part = self._part(kind, event, out)
            part.write(delta, out, extras)
            self.written = part
        return out

    def _text_done(self, event: dict[str, Any]) -> list[NewEvent]:
        kind = BY_DONE[event["type"]]
        whole = event.get(kind.text_key)
        if whole is not None and not isinstance(whole, str):
            raise InvalidEvent(f"{kind.done}: {kind.text_key} must be a string")
        out: list[NewEvent] = []
        item = self._item(kind.item_type, event)
        if item is None:
            if not whole or self._is_late(event):
                return out
            item = self._open(kind.item_type, event, out)
        inner_index = _index(event, kind.index_key)
        if item.is_repeat(kind, inner_index, whole):
            return out
        item = self._writable(item, event, out)
        if isinstance(name := event.get("name"), str) and "name" not in item.declared:
            self._ledger.declare(item, {"name": name}, out)
        part = item.text_part(kind, inner_index, out)
        part.write_rest(whole, out)
        if kind.has_logprobs and isinstance(event.get("logprobs"), list):
            part.logprobs = event["logprobs"] or part.logprobs
        if item.announced:
            part.finish(out, whole=whole)
        elif whole:
            item.declared[kind.holder] = whole
        return out

    def _part_added(self, event: dict[str, Any]) -> list[NewEvent]:
        holder = "content" if event["type"] == OPENINGS["content"] else "summary"
        item_type, part = self._shaped_part(event, holder)
        out: list[NewEvent] = []
        item = self._item(item_type, event) or self._open(item_type, event, out)
        item.begin_part(holder, _index(event, INDEX_KEYS[holder]), part, out)
        return out

    def _part_done(self, event: dict[str, Any]) -> list[NewEvent]:
        holder = "content" if event["type"] == CLOSINGS["content"] else "summary"
        item_type, part = self._shaped_part(event, holder)
        out: list[NewEvent] = []
        item = self._item(item_type, event)
        if item is None:
            if self._is_late(event):
                return out
            item = self._open(item_type, event, out)
        item.end_part(holder, _index(event, INDEX_KEYS[holder]), part, out)
        return out

    def _annotation(self, event: dict[str, Any]) -> list[NewEvent]:
        out: list[NewEvent] = []
        annotation = event.get("annotation")
        if not isinstance(annotation, dict):
            raise InvalidEvent(f"{ANNOTATION_ADDED}: annotation must be an object")
        _check_size(annotation)
        item = self._item(TEXT.item_type, event)
        if item is not None:
            part = item.known_part(TEXT.holder, _index(event, TEXT.index_key))
            if isinstance(part, Part) and part.kind is TEXT and not part.closed:
                part.annotate(annotation, out)
        return out

    def _item_added(self, event: dict[str, Any]) -> list[NewEvent]:
        item = shape_item(event.get("item"))
        ref_id, ref_index = _text(item.get("id") or event.get("item_id")), _reference(event)
        out: list[NewEvent] = []
        known = None
        if ref_id is not None:
            known = self._ledger.find(item["type"], ref_id, ref_index)
        if known is not None and known.explicit and known.touched:
            # The same name again although its item was never ended: a second inner call.
            self._ledger.close(known, "completed", out)
            known = None
        if known is None:
            self._ledger.open(item["type"], ref_id, ref_index, out, declared=item, explicit=True)
        else:
            known.explicit = True
            self._ledger.declare(known, item, out)
        return out

    def _item_done(self, event: dict[str, Any]) -> list[NewEvent]:
        item = shape_item(event.get("item"))
        out: list[NewEvent] = []
        ref_id = _text(item.get("id") or event.get("item_id"))
        self._whole_item(item, ref_id, _reference(event), out)
        return out

    def _inner_terminal(self, event: dict[str, Any]) -> list[NewEvent]:
        given = event.get("response")
        response = given if isinstance(given, dict) else {}
        output = response.get("output")
        items = [shape_item(item) for item in output] if isinstance(output, list) else []
        self._ending.inner(event["type"], response)
        out: list[NewEvent] = []
        for position, item in enumerate(items):
            known = self._ledger.claim(item, position)
            if known is None:
                known = self._whole_item(item, _text(item.get("id")), None, out)
                self._ledger.disclaim(known)
            elif not known.closed:
                self._ledger.declare(known, item, out)
                self._ledger.close(known, final_status(item), out)
        return out

    def _error(self, event: dict[str, Any]) -> list[NewEvent]:
        return self._ending.error_event(event)

    def _progress(self, event: dict[str, Any]) -> list[NewEvent]:
        item = self._item(ITEM_PROGRESS[event["type"]], event)
        return [] if item is None or not item.announced else [_passed(event, item)]

    def _nothing(self, event: dict[str, Any]) -> list[NewEvent]:
        return []

    def _unknown(self, event: dict[str, Any]) -> list[NewEvent]:
        if "." not in event["type"]:
            raise InvalidEvent(_no_event(event["type"]))
        item: Item | None = None
        if "item_id" in event or "output_index" in event:
            ref_id = _text(event.get("item_id"))
            item = self._ledger.find(None, ref_id, _reference(event))
            item = item or self._ledger.last_seen(ref_id)
        return [_passed(event, item if item is not None and item.announced else None)]

    def _whole_item(
        self, item: dict[str, Any], ref_id: str | None, ref_index: int | None, out: list[NewEvent]
    ) -> Item:
        known = self._ledger.find_declared(item, ref_id, ref_index)
        if known is None:
            known = self._ledger.open(
                item["type"], ref_id, ref_index, out, declared=item, explicit=True
            )
        else:
            self._ledger.declare(known, item, out)
        self._ledger.close(known, final_status(item), out)
        return known

    def _shaped_part(self, event: dict[str, Any], holder: str) -> tuple[str, dict[str, Any]]:
        given = event.get("part")
        if isinstance(given, dict) and given.get("type") == "reasoning_text":
            item_type, part_type = "reasoning", given["type"]
        else:
            item_type, part_type = _UNTYPED_PARTS[holder]
        if holder == "summary":
            part_type = "summary_text"
        part = shape_part(given, part_type)
        _check_part_size(part)
        return item_type, part

    def _item(self, item_type: str, event: dict[str, Any]) -> Item | None:
        item = self._ledger.find(item_type, _text(event.get("item_id")), _reference(event))
        if item is not None:
            self._ledger.current = item
        return item

    def _open(self, item_type: str, event: dict[str, Any], out: list[NewEvent]) -> Item:
        return self._ledger.open(item_type, _text(event.get("item_id")), _reference(event), out)

    def _part(self, kind: Kind, event: dict[str, Any], out: list[NewEvent]) -> Part:
        item = self._item(kind.item_type, event) or self._open(kind.item_type, event, out)
        item = self._writable(item, event, out)
        return item.text_part(kind, _index(event, kind.index_key), out)

    def _writable(self, item: Item, event: dict[str, Any], out: list[NewEvent]) -> Item:
        """The item, or a new one of its name where its arguments have ended already."""
        if item.field is None or not item.field.finished:
            return item
        self._ledger.close(item, "completed", out)
        return self._open(item.type, event, out)

    def _is_late(self, event: dict[str, Any]) -> bool:
        """Whether the event repeats the end of something in an item that is closed already."""
        item = self._ledger.last_seen(_text(event.get("item_id")))
        return item is not None and item.closed


_FAMILIES: Final[dict[str, Callable[[Intake, dict[str, Any]], list[NewEvent]]]] = {
    ITEM_ADDED: Intake._item_added,
    ITEM_DONE: Intake._item_done,
    ANNOTATION_ADDED: Intake._annotation,
    "error": Intake._error,
    **dict.fromkeys(BY_DELTA, Intake._delta),
    **dict.fromkeys(BY_DONE, Intake._text_done),
    **dict.fromkeys(OPENINGS.values(), Intake._part_added),
    **dict.fromkeys(CLOSINGS.values(), Intake._part_done),
    **dict.fromkeys(INNER_TERMINAL, Intake._inner_terminal),
    **dict.fromkeys(ITEM_PROGRESS, Intake._progress),
    **dict.fromkeys(RESERVED, Intake._nothing),
}


def _no_event(kind: str) -> str:
    """What to do with an object whose type is that of no event."""
    if kind in LISTS or kind in FIELDS or kind in NEEDED:
        wrapped = f'{{"type": "{ITEM_DONE}", "item": ...}}'
        return f"{kind!r} is the type of an item, not of an event: yield {wrapped}"
    return (
        f"{kind!r} is no type of an event: yield text, an event of the Responses API, or one of"
        " your own whose type has a dot, such as 'my.progress'"
    )


def _passed(event: dict[str, Any], item: Item | None) -> NewEvent:
    """An event that is not ours to understand: its names mapped, the rest as it is."""
    fields = {k: v for k, v in event.items() if k not in _NEVER_PASSED}
    if item is not None:
        fields |= {"item_id": item.id, "output_index": item.index}
    else:
        fields.pop("output_index", None)
    body = encode({"type": event["type"], **fields})
    if len(body) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"event of {len(body)} bytes exceeds the limit of {MAX_EVENT_BYTES}")
    return NewEvent(event["type"], None, body)


def _check_size(value: object) -> None:
    size = len(encode(value))
    if size > MAX_EVENT_BYTES:
        raise InvalidEvent(f"event of {size} bytes exceeds the limit of {MAX_EVENT_BYTES}")


def _check_part_size(part: dict[str, Any]) -> None:
    _check_size({k: v for k, v in part.items() if k not in ("text", "refusal")})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _reference(event: dict[str, Any]) -> int | None:
    return _index(event, "output_index")


def _index(event: dict[str, Any], key: str | None) -> int | None:
    value = event.get(key) if key is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
