"""One stretch of streamed text: a content part, a summary part, or a call's arguments."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from pgdurable.envelope.kinds import ANNOTATION_ADDED, CLOSINGS, OPENINGS, TEXT, Kind
from pgdurable.envelope.plain import split_delta
from pgdurable.models import NewEvent


def new_event(kind: str, fields: dict[str, Any], item_id: str | None = None) -> NewEvent:
    """An event whose body has its type first."""
    return NewEvent(kind, item_id, orjson.dumps({"type": kind, **fields}))


class Owner(Protocol):
    """The item a part belongs to, as far as the part needs it: its names, and what is declared."""

    id: str
    index: int
    announced: bool
    declared: dict[str, Any]


class Part:
    """Text so far, and the events that carry it.

    open -> write* -> finish (the text is final) -> close. Every step is taken at most once, and
    the later ones take the earlier ones where they are missing.
    """

    __slots__ = (
        "annotations",
        "closed",
        "declared",
        "index",
        "item",
        "kind",
        "logprobs",
        "pieces",
        "prefix",
        "suffix",
        "text",
    )

    def __init__(self, item: Owner, kind: Kind, index: int) -> None:
        self.item = item
        self.kind = kind
        self.index = index
        self.pieces: list[str] = []
        self.text: str | None = None
        self.annotations: list[Any] = []
        self.logprobs: list[Any] = []
        self.declared: dict[str, Any] = {}
        self.closed = False
        self.prefix = b""
        self.suffix = b',"logprobs":[]}' if kind.has_logprobs else b"}"

    @property
    def finished(self) -> bool:
        return self.text is not None

    def place(self) -> dict[str, Any]:
        """The keys that tell clients which part of which item an event is about."""
        key = self.kind.index_key
        at = {"item_id": self.item.id, "output_index": self.item.index}
        return at if key is None else {**at, key: self.index}

    def open(self, out: list[NewEvent]) -> None:
        head = orjson.dumps({"type": self.kind.delta, **self.place()})
        self.prefix = head[:-1] + b',"delta":'
        if self.kind.part_type is not None:
            part = self._part("", [])
            out.append(new_event(OPENINGS[self.kind.holder], {**self.place(), "part": part}))

    def write(self, delta: str, out: list[NewEvent], extras: dict[str, Any] | None = None) -> None:
        """Append text; extras are further keys of the author's event, sent with its first piece."""
        if not delta:
            return
        pieces = split_delta(delta)
        self.pieces += pieces
        if not self.prefix:
            return
        if extras:
            body = {**self.place(), "delta": pieces[0]}
            if self.kind.has_logprobs:
                body["logprobs"] = extras.get("logprobs") or []
                self.logprobs += body["logprobs"]
            out.append(new_event(self.kind.delta, {**body, **_without(extras, "logprobs")}))
            pieces = pieces[1:]
        for piece in pieces:
            body_bytes = self.prefix + orjson.dumps(piece) + self.suffix
            out.append(NewEvent(self.kind.delta, None, body_bytes))

    def flush(self, out: list[NewEvent]) -> None:
        """Send what was written before the item could be announced."""
        early = "".join(self.pieces)
        self.pieces = []
        self.open(out)
        self.write(early, out)

    def declare(self, declared: dict[str, Any], out: list[NewEvent]) -> None:
        """Take over what the author declares the whole part to be; text once streamed stays."""
        self.declared = {**self.declared, **declared}
        self.write_rest(self.declared.get(self.kind.text_key), out)
        if self.kind is TEXT and not self.closed:
            for annotation in (self.declared.get("annotations") or [])[len(self.annotations) :]:
                self.annotate(annotation, out)

    def write_rest(self, whole: object, out: list[NewEvent]) -> None:
        """Send what the whole text has beyond the text so far, if it continues it."""
        if self.finished or not isinstance(whole, str):
            return
        so_far = "".join(self.pieces)
        if len(whole) > len(so_far) and whole.startswith(so_far):
            self.write(whole[len(so_far) :], out)

    def annotate(self, annotation: object, out: list[NewEvent]) -> None:
        fields = {"annotation_index": len(self.annotations), "annotation": annotation}
        self.annotations.append(annotation)
        out.append(new_event(ANNOTATION_ADDED, {**self.place(), **fields}))

    def finish(self, out: list[NewEvent], *, whole: str | None = None) -> None:
        """End the text. A call's arguments end as its author says; displayed text as streamed."""
        if self.finished:
            return
        self.write_rest(whole, out)
        streamed = "".join(self.pieces)
        self.pieces = []
        self.text = whole if whole and self.kind.part_type is None else streamed
        fields = {**self.place(), self.kind.text_key: self.text}
        if self.kind.has_logprobs:
            fields["logprobs"] = self.logprobs
        if self.kind.holder == "arguments":
            fields["name"] = self.item.declared.get("name", "")
        out.append(new_event(self.kind.done, fields))

    def close(self, out: list[NewEvent]) -> None:
        if self.closed:
            return
        self.declare({}, out)
        self.finish(out)
        self.closed = True
        if self.kind.part_type is not None:
            fields = {**self.place(), "part": self.final()}
            out.append(new_event(CLOSINGS[self.kind.holder], fields))

    def final(self) -> dict[str, Any]:
        """The part as it stands in the closed item."""
        late = self.declared.get("annotations") or [] if self.kind is TEXT else []
        annotations = late if len(late) > len(self.annotations) else self.annotations
        part = self._part(self.so_far(), annotations)
        if self.logprobs:
            part["logprobs"] = self.logprobs
        return part | {k: v for k, v in self.declared.items() if k not in part}

    def so_far(self) -> str:
        return "".join(self.pieces) if self.text is None else self.text

    def _part(self, text: str, annotations: list[Any]) -> dict[str, Any]:
        part: dict[str, Any] = {"type": self.kind.part_type, self.kind.text_key: text}
        if self.kind is TEXT:
            part["annotations"] = annotations
        return part


class Opaque:
    """A message part without streamed text, such as an image: sent and kept as it is."""

    __slots__ = ("closed", "declared", "index", "item")

    def __init__(self, item: Owner, declared: dict[str, Any], index: int) -> None:
        self.item = item
        self.declared = declared
        self.index = index
        self.closed = False

    def open(self, out: list[NewEvent]) -> None:
        out.append(new_event(OPENINGS["content"], self._fields()))

    def close(self, out: list[NewEvent]) -> None:
        if not self.closed:
            self.closed = True
            out.append(new_event(CLOSINGS["content"], self._fields()))

    def final(self) -> dict[str, Any]:
        return self.declared

    def _fields(self) -> dict[str, Any]:
        place = {"item_id": self.item.id, "output_index": self.item.index}
        return {**place, "content_index": self.index, "part": self.declared}


def _without(fields: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k != key}
