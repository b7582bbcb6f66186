"""`tools=mcp_call`: executed calls in a stream go out as mcp_calls."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import orjson

from pgdurable.envelope.kinds import (
    ARGUMENTS,
    ITEM_ADDED,
    ITEM_DONE,
    MCP_ARGUMENTS,
    RESUMED,
    TERMINAL,
)
from pgdurable.server.view.events import Json, SeenEvent
from pgdurable.server.view.pairs import mcp_call, mcp_shell, paired

_ARGUMENTS: Final = {ARGUMENTS.delta: MCP_ARGUMENTS.delta, ARGUMENTS.done: MCP_ARGUMENTS.done}


@dataclass(slots=True, eq=False)
class _Call:
    """A function call of the running attempt, and what is known of its execution."""

    id: str
    final: Json | None = None
    output_id: str | None = None
    output: Json | None = None
    given_up: bool = False

    @property
    def is_executed(self) -> bool:
        return not self.given_up and self.final is not None and self.output is not None

    @property
    def is_decided(self) -> bool:
        return self.given_up or self.is_executed


class Tooling:
    """Calls and their outputs -> mcp_calls."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._waiting: deque[SeenEvent] = deque()
        self._calls: dict[str, _Call] = {}
        self._by_item: dict[str, _Call] = {}
        self._by_output: dict[str, _Call] = {}
        self._indexes: dict[int, int | None] = {}
        self._next_index = 0
        self._shifted = False

    def take(self, event: SeenEvent) -> list[SeenEvent]:
        """Read an event; returns what may go out now, in order."""
        self._read(event)
        self._waiting.append(event)
        ready = []
        while self._waiting and not self._is_undecided(self._waiting[0]):
            shown = self._shown(self._waiting.popleft())
            if shown is not None:
                ready.append(shown)
        return ready

    def _read(self, event: SeenEvent) -> None:
        if event.type in (ITEM_ADDED, ITEM_DONE):
            item = orjson.loads(event.body)["item"]
            reader = Tooling._announced if event.type == ITEM_ADDED else Tooling._closed
            reader(self, item)
        elif event.type == RESUMED or event.type in TERMINAL:
            for call in self._calls.values():
                call.given_up = not call.is_executed
            self._calls.clear()

    def _announced(self, item: Json) -> None:
        call_id: str = item.get("call_id", "")
        if item["type"] == "function_call":
            self._calls[call_id] = self._by_item[item["id"]] = _Call(item["id"])
        elif item["type"] == "function_call_output":
            call = self._calls.get(call_id)
            if call is not None and call.output_id is None:
                call.output_id = item["id"]
                self._by_output[item["id"]] = call

    def _closed(self, item: Json) -> None:
        if (call := self._by_item.get(item["id"])) is not None:
            call.final = item
        elif (call := self._by_output.get(item["id"])) is not None:
            call.output = item

    def _is_undecided(self, event: SeenEvent) -> bool:
        if event.type != ITEM_ADDED:
            return False  # the events of an item follow its announcement
        call = self._by_item.get(orjson.loads(event.body)["item"]["id"])
        return call is not None and not call.is_decided

    def _shown(self, event: SeenEvent) -> SeenEvent | None:
        if event.type in TERMINAL:
            return self._terminal(event)
        if event.type == ITEM_ADDED:
            self._place(orjson.loads(event.body))
        elif event.type not in (ITEM_DONE, *_ARGUMENTS) and not self._shifted:
            return event
        body = orjson.loads(event.body)
        index = body.get("output_index")
        if type(index) is int and index in self._indexes:
            if self._indexes[index] is None:
                return None
            body["output_index"] = self._indexes[index]
        return SeenEvent(event.seq, event.type, orjson.dumps(self._renamed(body)))

    def _place(self, added: Json) -> None:
        """Give the announced item an index; an executed call's output gets none."""
        call = self._by_output.get(added["item"]["id"])
        if call is not None and call.is_executed:
            self._indexes[added["output_index"]] = None
            self._shifted = True
        else:
            self._indexes[added["output_index"]] = self._next_index
            self._next_index += 1

    def _renamed(self, body: Json) -> Json:
        item = body.get("item")
        item_id = item["id"] if isinstance(item, dict) and "id" in item else body.get("item_id")
        call = self._by_item.get(item_id) if isinstance(item_id, str) else None
        if call is None or not call.is_executed:
            return body
        if body["type"] == ITEM_ADDED:
            return {**body, "item": mcp_shell(body["item"], self._label)}
        if body["type"] == ITEM_DONE:
            assert call.final is not None and call.output is not None
            return {**body, "item": mcp_call(call.final, call.output, self._label)}
        if body["type"] in _ARGUMENTS:
            body.pop("name", None)
            return {**body, "type": _ARGUMENTS[body["type"]]}
        return body

    def _terminal(self, event: SeenEvent) -> SeenEvent:
        if b'"function_call_output"' not in event.body:
            return event
        body = orjson.loads(event.body)
        body["response"]["output"] = paired(body["response"]["output"], self._label)
        return SeenEvent(event.seq, event.type, orjson.dumps(body))
