"""An attempt that starts over says again what the log has already; this recognises it.

Text is compared by its characters, not by its chunks, items by kind and content, not by their ids.
What is recognised is not stored a second time; the first thing that is new goes on where the log
stopped, in the same item, under the same ids. So a reader sees no seam. Where the new attempt says
something else, a marker tells readers so, and everything that the attempt has said comes after it.

Pure: values in, values out. Holds the events that earlier attempts stored, and as much of what the
new attempt yields, until that goes beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pgdurable.envelope import Envelope
from pgdurable.envelope.kinds import BY_DELTA, INDEX_KEYS, LIFECYCLE, RESUMED
from pgdurable.envelope.plain import as_event, plain
from pgdurable.envelope.previous import PreviousEvent
from pgdurable.models import NewEvent, Terminal

_NAMES: Final = frozenset({"item_id", "logprobs"})
_ITEM_NAMES: Final = frozenset({"id", "call_id"})


class _Differs(Exception):
    """The new attempt does not say what the log has."""


@dataclass(slots=True)
class _Text:
    """A run of deltas of one kind in one place."""

    place: tuple[Any, ...]
    text: str


_Fact = dict[str, Any]
"""Any other event, without the names that may differ."""


class Retrace:
    """Takes the place of an Envelope for an attempt that starts over.

    `fresh` makes an Envelope without a transform, `previous` are all stored events of earlier
    attempts, `marker` makes the `response.resumed` event that is to be stored next. `transform` is
    applied to what the handler yields.
    """

    def __init__(
        self,
        fresh: Callable[[], Envelope],
        previous: Sequence[PreviousEvent],
        *,
        marker: Callable[[], NewEvent],
        transform: Callable[[object], object] | None = None,
    ) -> None:
        self._fresh = fresh
        self._previous = previous
        self._marker = marker
        self._transform = transform
        self._envelope = fresh()
        before, since = _divided(previous)
        self._envelope.repeat(before, since)
        self._script = list(_script(since))
        self._at = 0
        self._said: list[tuple[Callable[[Envelope, Any], Any], Any]] = []
        self.is_beyond = not self._script
        """Has the attempt said more than the log had, or something else?"""

    @property
    def trace_id(self) -> str | None:
        return self._envelope.trace_id

    def feed(self, yielded: object) -> list[NewEvent]:
        """As Envelope.feed; nothing for what the log has already."""
        value = yielded if self._transform is None else self._transform(yielded)
        if self.is_beyond:
            return self._envelope.feed(value)
        return self._say(Envelope.feed, plain(value) if isinstance(value, str) else as_event(value))

    def result(self, value: object) -> list[NewEvent]:
        """As Envelope.result; nothing for what the log has already."""
        if self.is_beyond:
            return self._envelope.result(value)
        return self._say(Envelope.result, plain(value))

    def annotate(self, **fields: Any) -> None:
        """As Envelope.annotate."""
        self._envelope.annotate(**fields)
        if not self.is_beyond:
            self._said.append((_annotate, fields))

    def complete(self) -> tuple[list[NewEvent], Terminal]:
        """As Envelope.complete; an attempt that says less than the log says something else."""
        events, terminal = self._envelope.complete()
        if self.is_beyond:
            return events, terminal
        try:
            new = self._unknown_of(events)
            if self._at < len(self._script):
                raise _Differs
        except _Differs:
            told = self._tell_anew()
            events, terminal = self._envelope.complete()
            return told + events, terminal
        return new, terminal

    def fail(self, code: str, message: str) -> tuple[list[NewEvent], Terminal]:
        """As Envelope.fail; before the attempt has caught up, the output is what the log has."""
        closing = self._as_stored()
        events, terminal = self._envelope.fail(code, message)
        return closing + events, terminal

    def cancel(self) -> tuple[list[NewEvent], Terminal]:
        """As Envelope.cancel; before the attempt has caught up, the output is what the log has."""
        closing = self._as_stored()
        events, terminal = self._envelope.cancel()
        return closing + events, terminal

    def _say(self, how: Callable[[Envelope, Any], list[NewEvent]], value: object) -> list[NewEvent]:
        self._said.append((how, value))
        try:
            return self._unknown_of(how(self._envelope, value))
        except _Differs:
            return self._tell_anew()

    def _unknown_of(self, events: list[NewEvent]) -> list[NewEvent]:
        """Those of the events that the log does not have: none, or the last ones."""
        for number, event in enumerate(events):
            new = self._compared(event)
            if new is not None:
                self._go_beyond()
                return [new, *events[number + 1 :]]
        return []

    def _compared(self, event: NewEvent) -> NewEvent | None:
        """None for an event that the log has, else what is new of it; _Differs for another one."""
        if self._at == len(self._script):
            return event
        known, said = self._script[self._at], orjson.loads(event.body)
        if event.type in BY_DELTA:
            return self._compared_text(event, said)
        if known != _fact(said):
            raise _Differs
        self._at += 1
        return None

    def _compared_text(self, event: NewEvent, said: dict[str, Any]) -> NewEvent | None:
        known = self._script[self._at]
        if not isinstance(known, _Text) or known.place != _place(said):
            raise _Differs
        text: str = said["delta"]
        if known.text.startswith(text):
            known.text = known.text[len(text) :]
            self._at += not known.text
            return None
        if text.startswith(known.text) and self._at + 1 == len(self._script):
            self._at += 1
            return event._replace(body=orjson.dumps(said | {"delta": text[len(known.text) :]}))
        raise _Differs

    def _tell_anew(self) -> list[NewEvent]:
        """The marker, what closes the open items of the log, and all that the attempt has said."""
        self._envelope = self._fresh()
        out = [self._marker(), *self._envelope.resume(self._previous)]
        for how, value in self._said:
            out += how(self._envelope, value)
        self._go_beyond()
        return out

    def _as_stored(self) -> list[NewEvent]:
        """Take over the log as this attempt's own output; returns what closes its open items."""
        if self.is_beyond:
            return []
        self._envelope = self._fresh()
        self._go_beyond()
        return self._envelope.adopt(*_divided(self._previous))

    def _go_beyond(self) -> None:
        self.is_beyond = True
        self._script, self._said = [], []


def _annotate(envelope: Envelope, fields: dict[str, Any]) -> list[NewEvent]:
    envelope.annotate(**fields)
    return []


def _divided(
    previous: Sequence[PreviousEvent],
) -> tuple[Sequence[PreviousEvent], Sequence[PreviousEvent]]:
    """The log up to its last marker with the closings that follow it, and all after that.

    Items are told apart by their index: what follows the marker begins behind what was before.
    """
    at = max((n for n, told in enumerate(previous, 1) if told.type == RESUMED), default=0)
    known = {told.event.get("output_index") for told in previous[:at]} - {None}
    while at < len(previous) and previous[at].event.get("output_index") in known:
        at += 1
    return previous[:at], previous[at:]


def _script(events: Iterable[PreviousEvent]) -> Iterator[_Text | _Fact]:
    """What a new attempt has to say to say the same."""
    text: _Text | None = None
    for _, _, kind, event in events:
        if kind in LIFECYCLE:
            continue
        if kind in BY_DELTA:
            if text is not None and text.place == _place(event):
                text.text += event["delta"]
                continue
            if text is not None:
                yield text
            text = _Text(_place(event), event["delta"])
            continue
        if text is not None:
            yield text
            text = None
        yield _fact(event)
    if text is not None:
        yield text


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["type"], event["output_index"], *map(event.get, INDEX_KEYS.values())


def _fact(event: dict[str, Any]) -> _Fact:
    fact = {key: value for key, value in event.items() if key not in _NAMES}
    if isinstance(item := fact.get("item"), dict):
        fact["item"] = {key: value for key, value in item.items() if key not in _ITEM_NAMES}
    return fact
