"""A response's log in memory: what SQL writes around the events of an envelope."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from pgdurable.envelope import Envelope
from pgdurable.envelope.previous import PreviousEvent, read_previous
from pgdurable.envelope.response import response_object
from pgdurable.models import Event as StoredEvent
from pgdurable.models import NewEvent, Status, Terminal

RESPONSE_ID = "resp_" + "0" * 32
CREATED_AT = 1_760_000_000
FIELDS: dict[str, Any] = {
    "background": True,
    "model": "agent",
    "metadata": {"from": "request"},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}

Event = dict[str, Any]
Transform = Callable[[dict[str, Any], str], Any]


class Log:
    """Feeds the attempts of one response and keeps what they store."""

    def __init__(self, transform: Transform | None = None) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self.attempt = 0
        self.status: Status | None = None
        self._transform = transform
        self._lifecycle("response.created", Status.QUEUED)
        self.start()

    def start(self) -> Envelope:
        """The next attempt: claimed the first time, taken over from then on."""
        self.attempt += 1
        previous = self.previous()
        if self.attempt == 1:
            self._lifecycle("response.in_progress", Status.IN_PROGRESS)
        else:
            resumed = {"attempt": self.attempt, "from_seq": len(self.stored)}
            self._write("response.resumed", {**resumed, "conversation_id": RESPONSE_ID})
        self.envelope = Envelope(
            RESPONSE_ID,
            created_at=CREATED_AT,
            attempt=self.attempt,
            fields=FIELDS,
            transform=self._transform,
        )
        if self.attempt > 1:
            self.store(self.envelope.resume(previous))
        return self.envelope

    def previous(self) -> list[PreviousEvent]:
        """What is stored, as the next attempt reads it."""
        return read_previous(
            StoredEvent(RESPONSE_ID, seq, 0, kind, body)
            for seq, (kind, body) in enumerate(self.stored)
        )

    def feed(self, *yielded: object) -> list[Event]:
        """Returns the stored events of these yields."""
        before = len(self.stored)
        for one in yielded:
            self.store(self.envelope.feed(one))
        return self.events[before:]

    def complete(self) -> Event:
        return self.end(self.envelope.complete())

    def end(self, ending: tuple[list[NewEvent], Terminal]) -> Event:
        """Stores the ending and returns the final response object."""
        events, terminal = ending
        self.store([*events, terminal.event])
        self.status = terminal.status
        response: Event = self.events[-1]["response"]
        assert response["status"] == terminal.status
        return response

    def store(self, events: Iterable[NewEvent]) -> None:
        for event in events:
            body = orjson.loads(event.body)
            assert next(iter(body)) == "type" and body["type"] == event.type
            assert b"\n" not in event.body
            assert "sequence_number" not in body and "response_id" not in body
            is_done = event.type == "response.output_item.done"
            assert event.item_id == (body["item"]["id"] if is_done else None)
            self.stored.append((event.type, event.body))

    @property
    def events(self) -> list[Event]:
        """The stream as a client gets it."""
        return [
            {**orjson.loads(body), "sequence_number": number, "response_id": RESPONSE_ID}
            for number, (_, body) in enumerate(self.stored)
        ]

    @property
    def types(self) -> list[str]:
        """The stream's event types without `response.` and without the lifecycle's head."""
        return [kind.removeprefix("response.") for kind, _ in self.stored[2:]]

    def _lifecycle(self, kind: str, status: Status) -> None:
        response = response_object(RESPONSE_ID, CREATED_AT, status, self.attempt, FIELDS)
        self._write(kind, {"response": response})

    def _write(self, kind: str, fields: Event) -> None:
        self.stored.append((kind, orjson.dumps({"type": kind, **fields})))
