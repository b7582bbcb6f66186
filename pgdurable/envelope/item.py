"""One output item from its announcement to its closing."""

from __future__ import annotations

from typing import Any

import orjson

from pgdurable.envelope.kinds import (
    BY_PART,
    FIELDS,
    ITEM_ADDED,
    ITEM_DONE,
    LISTS,
    NEEDED,
    Kind,
)
from pgdurable.envelope.part import Opaque, Part, new_event
from pgdurable.envelope.shapes import texts
from pgdurable.models import NewEvent

_NOT_IN_SHELL = {"mcp_call": ("output", "error"), "image_generation_call": ("result",)}
"""What an item is announced without, because it is only known at its end."""


class Item:
    """What the author declared of an item, what was streamed of it, and the names it goes by.

    `id`, `index` and `call_id` are ours; the `inner_` ones are what the author calls it.
    """

    __slots__ = (
        "announced",
        "call_id",
        "closed",
        "declared",
        "explicit",
        "field",
        "fingerprint",
        "id",
        "index",
        "inner_call",
        "inner_id",
        "inner_index",
        "inner_parts",
        "lists",
        "silent",
        "type",
    )

    def __init__(self, item_type: str, item_id: str) -> None:
        self.type = item_type
        self.id = item_id
        self.index = -1
        self.call_id: str | None = None
        self.inner_id: str | None = None
        self.inner_index: int | None = None
        self.inner_call: str | None = None
        self.explicit = False
        self.declared: dict[str, Any] = {}
        self.announced = False
        self.closed = False
        self.fingerprint = ""
        self.field: Part | None = None
        self.lists: dict[str, list[Part | Opaque]] = {h: [] for h in LISTS.get(item_type, ())}
        self.inner_parts: dict[tuple[str, int], Part | Opaque] = {}
        self.silent: dict[str, list[dict[str, Any]]] = {}

    @property
    def touched(self) -> bool:
        """Whether anything of its content was streamed."""
        return self.field is not None or any(self.lists.values())

    def can_be_announced(self) -> bool:
        """Whether everything is known that may not change later on."""
        return all(self.declared.get(key) for key in NEEDED.get(self.type, ()))

    def announce(self, index: int, call_id: str | None, out: list[NewEvent]) -> None:
        self.index = index
        self.call_id = call_id
        self.announced = True
        out.append(new_event(ITEM_ADDED, {"output_index": index, "item": self._shell()}))
        if self.field is not None:
            self.field.flush(out)

    def text_part(self, kind: Kind, inner_index: int | None, out: list[NewEvent]) -> Part:
        """The part that takes text of this kind; opened where there is none to be continued."""
        if kind.part_type is None:
            return self._field(kind, out)
        parts = self.lists[kind.holder]
        if inner_index is None:
            last = parts[-1] if parts else None
            if isinstance(last, Part) and last.kind is kind and not last.finished:
                return last
            inner_index = len(parts)
        known = self.inner_parts.get((kind.holder, inner_index))
        if isinstance(known, Part) and known.kind is kind and not known.finished:
            return known
        part = Part(self, kind, len(parts))
        self._add_part(kind.holder, inner_index, part, out)
        return part

    def known_part(self, holder: str, inner_index: int | None) -> Part | Opaque | None:
        """The part the author means, whatever its state; the last one where no index is given."""
        if inner_index is not None:
            return self.inner_parts.get((holder, inner_index))
        parts = self.lists.get(holder)
        return parts[-1] if parts else None

    def is_repeat(self, kind: Kind, inner_index: int | None, whole: str | None) -> bool:
        """Whether the end of a text only says again what its part has ended with."""
        known = self.known_part(kind.holder, inner_index) if kind.part_type else self.field
        if not isinstance(known, Part) or known.kind is not kind or not known.finished:
            return False
        return not whole or whole == known.so_far()

    def begin_part(
        self, holder: str, inner_index: int | None, declared: dict[str, Any], out: list[NewEvent]
    ) -> None:
        """Open the part, if its text has not done so; what it holds already waits for its end."""
        kind = BY_PART.get((self.type, holder, declared["type"]))
        if inner_index is None:
            last = self.known_part(holder, None)
            untouched = isinstance(last, Part) and not last.finished and not last.pieces
            inner_index = len(self.lists[holder]) - untouched
        if kind is None:
            self._declare_opaque(holder, inner_index, declared, out)
        else:
            self.text_part(kind, inner_index, out).declared = declared

    def end_part(
        self, holder: str, inner_index: int | None, declared: dict[str, Any], out: list[NewEvent]
    ) -> None:
        kind = BY_PART.get((self.type, holder, declared["type"]))
        if kind is not None:
            known = self.known_part(holder, inner_index)
            is_open = isinstance(known, Part) and not known.closed
            if not is_open and self.is_repeat(kind, inner_index, declared[kind.text_key]):
                return
        if inner_index is None:
            inner_index = max(len(self.lists[holder]) - 1, 0)
        part = self.declare_part(holder, inner_index, declared, out)
        if part is not None:
            part.close(out)

    def declare_part(
        self,
        holder: str,
        inner_index: int,
        declared: dict[str, Any],
        out: list[NewEvent],
        *,
        whole: bool = False,
    ) -> Part | Opaque | None:
        """Take over what the author declares a part to be.

        `whole`: as one of a finished item's parts, so that a closed part is this one, not a
        predecessor of the same index.
        """
        kind = BY_PART.get((self.type, holder, declared["type"]))
        known = self.inner_parts.get((holder, inner_index))
        if kind is None:
            return self._declare_opaque(holder, inner_index, declared, out)
        if isinstance(known, Part) and known.kind is kind and (whole or not known.closed):
            known.declare(declared, out)
            return known
        part = self.text_part(kind, inner_index, out)
        part.declare(declared, out)
        return part

    def close(self, status: str, out: list[NewEvent]) -> bytes:
        """Stream what is missing, close all parts and the item; returns the final item's JSON."""
        for holder in LISTS.get(self.type, ()):
            for inner_index, declared in enumerate(self.declared.get(holder) or ()):
                self.declare_part(holder, inner_index, declared, out, whole=True)
        for parts in self.lists.values():
            for part in parts:
                part.close(out)
        self._close_field(status, out)
        final = self._final(status)
        self.fingerprint = texts(final)
        self.closed = True
        self.lists, self.inner_parts, self.field, self.declared = {}, {}, None, {}
        body = orjson.dumps(final)
        done = {"output_index": self.index, "item": orjson.Fragment(body)}
        out.append(new_event(ITEM_DONE, done, self.id))
        return body

    def _field(self, kind: Kind, out: list[NewEvent]) -> Part:
        if self.field is None:
            self.field = Part(self, kind, 0)
            if self.announced:
                self.field.open(out)
        return self.field

    def _close_field(self, status: str, out: list[NewEvent]) -> None:
        """A cut-off call gets no `.done` of its arguments: a client might act on them."""
        kind = FIELDS.get(self.type)
        if kind is None:
            return
        whole = self.declared.get(kind.holder)
        if self.field is None and whole is None and not kind.always_streamed:
            return
        field = self._field(kind, out)
        if status == "incomplete":
            field.write_rest(whole, out)
        else:
            field.finish(out, whole=whole)

    def _declare_opaque(
        self, holder: str, inner_index: int, declared: dict[str, Any], out: list[NewEvent]
    ) -> Opaque | None:
        if self.type != "message":
            # No accumulator accepts part events of an unknown type outside of messages.
            self.silent.setdefault(holder, []).append(declared)
            return None
        known = self.inner_parts.get((holder, inner_index))
        if isinstance(known, Opaque):
            known.declared = declared
            return known
        part = Opaque(self, declared, len(self.lists[holder]))
        self._add_part(holder, inner_index, part, out)
        return part

    def _add_part(
        self, holder: str, inner_index: int, part: Part | Opaque, out: list[NewEvent]
    ) -> None:
        self.lists[holder].append(part)
        self.inner_parts[holder, inner_index] = part
        part.open(out)

    def _shell(self) -> dict[str, Any]:
        """The item as announced: named, with nothing in it yet."""
        shell: dict[str, Any] = {"id": self.id, "type": self.type, "status": "in_progress"}
        left_out = _NOT_IN_SHELL.get(self.type, ())
        shell |= {k: v for k, v in self.declared.items() if k not in shell and k not in left_out}
        self._name_call(shell)
        if self.type == "message":
            shell |= {"role": self.declared.get("role", "assistant"), "content": []}
        elif self.type == "reasoning":
            shell.pop("content", None)
            shell["summary"] = []
        elif (kind := FIELDS.get(self.type)) is not None:
            shell[kind.holder] = ""
        return shell

    def _final(self, status: str) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.id, "type": self.type, "status": status}
        item |= {k: v for k, v in self.declared.items() if k not in item}
        self._name_call(item)
        if self.type == "message":
            item.setdefault("role", "assistant")
        elif self.type == "image_generation_call" and item.get("result") is None:
            item["result"] = ""  # the AI SDK refuses the whole stream over a missing one
        for holder, parts in self.lists.items():
            finals = [part.final() for part in parts] + self.silent.get(holder, [])
            if finals or holder != "content" or self.type == "message":
                item[holder] = finals
        if self.field is not None:
            item[self.field.kind.holder] = self.field.so_far()
        return item

    def _name_call(self, item: dict[str, Any]) -> None:
        """Our call id, the same in the announcement and at the end: clients compare them."""
        item.pop("call_id", None)
        if self.call_id is not None:
            item["call_id"] = self.call_id
