"""`resume_marker=in_progress`: the marker as an event that every SDK knows."""

from __future__ import annotations

from typing import Any

import orjson

from pgdurable.envelope.kinds import CREATED, IN_PROGRESS, ITEM_ADDED, ITEM_DONE, RESUMED
from pgdurable.envelope.ledger import Ledger
from pgdurable.envelope.orphans import close_orphans
from pgdurable.envelope.previous import read_previous
from pgdurable.envelope.response import response_object
from pgdurable.models import Event, Status
from pgdurable.server.view.events import Json, SeenEvent


class ResumeAsProgress:
    """response.resumed -> response.in_progress.

    Accumulating clients put the response in it in the place of all they have, and the items that
    are open there are closed after it: so it holds those too, as they will be closed.
    """

    def __init__(self) -> None:
        self._response: Json = {}
        self._closed: dict[int, Any] = {}
        self._open: set[str] = set()
        self._since: list[SeenEvent] = []  # from the announcement of the oldest open item

    def take(self, event: SeenEvent) -> SeenEvent:
        if event.type == CREATED:
            self._response = orjson.loads(event.body)["response"]
        elif event.type == ITEM_ADDED:
            self._open.add(orjson.loads(event.body)["item"]["id"])
        elif event.type == ITEM_DONE:
            self._close(event.body)
        elif event.type == RESUMED:
            return self._in_progress(event)
        if self._open:
            self._since.append(event)
        else:
            self._since.clear()
        return event

    def _close(self, body: bytes) -> None:
        done = orjson.loads(body)
        self._closed[done["output_index"]] = done["item"]
        self._open.discard(done["item"]["id"])

    def _in_progress(self, event: SeenEvent) -> SeenEvent:
        attempt = orjson.loads(event.body)["attempt"]
        items = dict(self._closed)
        previous = read_previous(Event("", e.seq, 0, e.type, e.body) for e in self._since)
        for closing in close_orphans(previous, Ledger(self._response["id"])):
            if closing.type == ITEM_DONE:
                done = orjson.loads(closing.body)
                items[done["output_index"]] = done["item"]
        response = response_object(
            self._response["id"],
            self._response["created_at"],
            Status.IN_PROGRESS,
            attempt,
            self._response,
            output=[item for _, item in sorted(items.items())],
        )
        body = {
            "type": IN_PROGRESS,
            "response": response,
            "attempt": attempt,
            "resumed": True,
        }
        return SeenEvent(event.seq, body["type"], orjson.dumps(body))
