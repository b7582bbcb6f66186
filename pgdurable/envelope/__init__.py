"""Whatever one attempt's handler yields becomes one well-formed Responses stream (docs/wire.md 4).

Pure: values in, values out. Reading order:

    kinds    the vocabulary of the stream            part    one stretch of streamed text
    plain    values from a handler's hands           item    one output item
    shapes   items as authors write them             ledger  all items of an attempt
    results  what an invoke handler returns          intake  a handler's events, family by family
    orphans  what earlier attempts left open         ending  usage, outcome, the terminal event
    response the response object                     retrace  an attempt that says the same again
    previous what earlier attempts have stored
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from pgdurable.envelope.ending import Ending
from pgdurable.envelope.intake import DELTA_KEYS, Intake
from pgdurable.envelope.kinds import BY_DELTA, TEXT
from pgdurable.envelope.ledger import Ledger
from pgdurable.envelope.orphans import announced_items, close_orphans, closed_items
from pgdurable.envelope.part import Part
from pgdurable.envelope.plain import MAX_DELTA_CHARS, MAX_OUTPUT_BYTES, as_event, plain
from pgdurable.envelope.previous import PreviousEvent
from pgdurable.envelope.results import read_result
from pgdurable.errors import InvalidEvent
from pgdurable.models import NewEvent, Status, Terminal

__all__ = ["Envelope", "Transform", "transformed"]

Transform = Callable[[dict[str, Any], str], Any]

_ANNOTATIONS: Final = frozenset(
    {"usage", "metadata", "custom_outputs", "model", "trace_id", "incomplete_details"}
)


class Envelope:
    """One attempt's stream: feed it what the handler yields, store what it returns.

    `created_at` is in seconds since 1970, `fields` are what the response echoes of its request.
    `transform` is applied to every event of the handler, as a dict, before anything else.
    Event 0 and `response.in_progress` are not ours: SQL writes them.
    """

    def __init__(
        self,
        response_id: str,
        *,
        created_at: int,
        attempt: int,
        fields: Mapping[str, Any],
        transform: Transform | None = None,
    ) -> None:
        self._response_id = response_id
        self._transform = transform
        self._ledger = Ledger(response_id)
        self._ending = Ending(response_id, created_at, attempt, fields)
        self._intake = Intake(self._ledger, self._ending)
        self._size = 0
        self._hot: Part | None = None
        self._hot_type = self._hot_key = ""
        self._hot_id: object = None
        self._hot_index: object = None
        self._hot_part: object = None

    @property
    def trace_id(self) -> str | None:
        """The trace id that the handler, its tracer or a `{"trace_id": ...}` frame has set."""
        return self._ending.trace_id

    def resume(self, previous: Iterable[PreviousEvent]) -> list[NewEvent]:
        """Read all stored events of earlier attempts; returns what closes their open items.

        From here on their output indexes, item ids and call ids are not used again.
        """
        return close_orphans(previous, self._ledger)

    def repeat(self, before: Iterable[PreviousEvent], since: Iterable[PreviousEvent]) -> None:
        """Give the items to come the ids that the stored ones of `since` have, as far as they are
        of the same types; those of `before` have ended, and their names are not used again.
        """
        close_orphans(before, self._ledger)
        self._ledger.expected = announced_items(since)

    def adopt(
        self, before: Iterable[PreviousEvent], since: Sequence[PreviousEvent]
    ) -> list[NewEvent]:
        """Make the items of `since` this attempt's output; returns what closes the open ones."""
        close_orphans(before, self._ledger)
        closing = close_orphans(since, self._ledger)
        told = [previous.event for previous in since]
        told += [orjson.loads(event.body) for event in closing]
        self._ledger.finals += closed_items(told)
        return closing

    def feed(self, yielded: object) -> list[NewEvent]:
        """The events to store for one yielded object: none, one or many.

        Raises InvalidEvent, and changes nothing, when it is not a Responses event, or when the
        output has more than MAX_OUTPUT_BYTES.
        """
        if self._size > MAX_OUTPUT_BYTES:
            raise InvalidEvent(f"the output exceeds {MAX_OUTPUT_BYTES} bytes")
        if self._transform is not None:
            yielded = transformed(self._transform, self._response_id, yielded)
        part = self._hot
        if part is not None:
            delta: object = None
            if type(yielded) is str:
                delta = yielded if part.kind is TEXT else None
            elif type(yielded) is dict and self._continues(yielded):
                delta = yielded["delta"]
            if type(delta) is str and len(delta) <= MAX_DELTA_CHARS:
                return self._continued(part, delta)
        return self._taken(yielded)

    def annotate(self, **fields: Any) -> None:
        """What the author says of the whole response through `context`; None says nothing.

        Raises InvalidEvent for values that are not JSON, TypeError for unknown fields.
        """
        if unknown := fields.keys() - _ANNOTATIONS:
            raise TypeError(f"unknown response fields: {', '.join(sorted(unknown))}")
        self._ending.annotate(fields)

    def result(self, value: object) -> list[NewEvent]:
        """The events of an invoke handler's return value; its other fields are kept for the end."""
        self._hot = None
        items, fields = read_result(value)
        if fields:
            self._ending.inner(None, fields)
        return self._intake.whole_items(items)

    def complete(self) -> tuple[list[NewEvent], Terminal]:
        """The handler ended normally: close what is open, end as inner calls or errors decided."""
        status = self._ending.outcome
        if status is Status.FAILED:
            return self._end("incomplete", status, self._ending.failure())
        return self._end("completed" if status is Status.COMPLETED else "incomplete", status)

    def fail(self, code: str, message: str) -> tuple[list[NewEvent], Terminal]:
        """The attempt failed: close what is open as incomplete, then the flat `error` event.

        An error event that the handler has yielded before stays the only one.
        """
        out: list[NewEvent] = []
        self._ledger.close_all("incomplete", out)
        out += self._ending.error_event({"code": code, "message": message})
        return out, self._ending.terminal(self._ledger.finals, Status.FAILED)

    def cancel(self) -> tuple[list[NewEvent], Terminal]:
        """The client cancelled: close what is open as incomplete and keep it in the output."""
        return self._end("incomplete", Status.CANCELLED)

    def _continues(self, event: dict[str, Any]) -> bool:
        """Whether the event is a delta that goes where the last one went, with nothing special."""
        get = event.get
        return (
            get("type") == self._hot_type
            and get("item_id") == self._hot_id
            and get("output_index") == self._hot_index
            and get(self._hot_key) == self._hot_part
            and "delta" in event
            and not get("logprobs")
            and event.keys() <= DELTA_KEYS
        )

    def _continued(self, part: Part, delta: str) -> list[NewEvent]:
        if not delta:
            return []
        try:
            text = orjson.dumps(delta)
        except TypeError:
            raise InvalidEvent("event.delta: a lone surrogate is not text") from None
        self._size += len(text)
        part.pieces.append(delta)
        return [NewEvent(part.kind.delta, None, part.prefix + text + part.suffix)]

    def _taken(self, yielded: object) -> list[NewEvent]:
        self._hot = None
        if isinstance(yielded, str):
            event: dict[str, Any] = {"type": TEXT.delta, "delta": plain(yielded)}
        else:
            event = as_event(yielded)
        out = self._intake.take(event)
        self._size += sum([len(new.body) for new in out if new.item_id or new.type in BY_DELTA])
        part = self._intake.written
        if part is not None and part.item.announced:
            self._hot = part
            self._hot_type = part.kind.delta
            self._hot_key = part.kind.index_key or "content_index"
            self._hot_id = event.get("item_id")
            self._hot_index = event.get("output_index")
            self._hot_part = event.get(self._hot_key)
        return out

    def _end(
        self, item_status: str, status: Status, error: list[NewEvent] | None = None
    ) -> tuple[list[NewEvent], Terminal]:
        out: list[NewEvent] = []
        self._ledger.close_all(item_status, out)
        out += error or []
        return out, self._ending.terminal(self._ledger.finals, status)


def transformed(transform: Transform, response_id: str, yielded: object) -> object:
    """What the author's transform makes of a yielded object, which it gets as an event."""
    if isinstance(yielded, str):
        return transform({"type": TEXT.delta, "delta": yielded}, response_id)
    return transform(yielded if type(yielded) is dict else as_event(yielded), response_id)
