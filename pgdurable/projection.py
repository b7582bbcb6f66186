"""How one reader wants to see a stream that is stored in one way only; pure.

Two projections for strict clients (PROTOCOL fact 2, section 7), applied when reading:

* `tools=mcp_call`: a `function_call` in an output means "client, run this tool". Calls that the
  agent has executed itself (a call and its `function_call_output`) go out as one `mcp_call`.
* `resume_marker=in_progress`: `response.resumed`, which no SDK knows, goes out as
  `response.in_progress`, with the items closed so far.

Every projected event keeps the number of the event it is made from; events that have no place in
the projection leave a gap. Whether a call is executed shows only at its output, so the stream
waits there: from the call on, events are kept back until its output is closed, or until the
attempt or the response ends, and the call remains a `function_call`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, get_args

import orjson

from pgdurable.config import ResumeMarker, Tools
from pgdurable.errors import InvalidRequest

Json = dict[str, Any]
Text = TypeVar("Text", bound=str)

_ADDED: Final = "response.output_item.added"
_DONE: Final = "response.output_item.done"
_CREATED: Final = "response.created"
_RESUMED: Final = "response.resumed"
_TERMINAL: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
_ARGUMENTS: Final = {
    f"response.function_call_arguments.{step}": f"response.mcp_call_arguments.{step}"
    for step in ("delta", "done")
}


class Entry(Protocol):
    """A stored event."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What a reader sees in place of what is stored."""

    tools: Tools = "function_call"
    resume_marker: ResumeMarker = "resumed"

    @classmethod
    def of(cls, query: Mapping[str, str], *, tools: Tools, resume_marker: ResumeMarker) -> Settings:
        """From the query, else the server's; InvalidRequest for values that do not exist."""
        return cls(
            tools=_choice(query, "tools", get_args(Tools), tools),
            resume_marker=_choice(query, "resume_marker", get_args(ResumeMarker), resume_marker),
        )

    @property
    def is_identity(self) -> bool:
        return self.tools == "function_call" and self.resume_marker == "resumed"


class Projection:
    """One stream, from its first event on; what is fed must have no gap.

    A reader that joins after a cursor is built with `after=cursor` and fed the events up to it
    first: they decide how it goes on, and nothing at or below the cursor comes out again.
    """

    def __init__(
        self, response_id: str, settings: Settings, *, label: str = "agent", after: int = -1
    ) -> None:
        self._after = after
        self._tools = _Tools(label) if settings.tools == "mcp_call" else None
        self._marker = _Marker(response_id) if settings.resume_marker == "in_progress" else None

    def project(self, entries: Sequence[Entry]) -> list[tuple[int, bytes]]:
        """The (seq, body) that these entries allow to go out now; often none, sometimes many."""
        events: Iterable[_Event] = [_Event(entry.seq, entry.type, entry.body) for entry in entries]
        if self._tools is not None:
            events = [ready for event in events for ready in self._tools.take(event)]
        if self._marker is not None:
            events = [self._marker.take(event) for event in events]
        return [(event.seq, event.body) for event in events if event.seq > self._after]


def project_response(response: Json, settings: Settings, *, label: str = "agent") -> Json:
    """The same for a response object, finished or not; the one given stays as it is."""
    if settings.tools != "mcp_call":
        return response
    output = response.get("output")
    if not isinstance(output, list):
        return response
    return {**response, "output": _paired(output, label)}


@dataclass(frozen=True, slots=True)
class _Event:
    seq: int
    type: str
    body: bytes


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
    def is_settled(self) -> bool:
        return self.given_up or self.is_executed


class _Tools:
    """Calls and their outputs -> mcp_calls."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._waiting: deque[_Event] = deque()
        self._calls: dict[str, _Call] = {}
        self._by_item: dict[str, _Call] = {}
        self._by_output: dict[str, _Call] = {}
        self._indexes: dict[int, int | None] = {}
        self._next_index = 0
        self._shifted = False

    def take(self, event: _Event) -> list[_Event]:
        """Read an event; returns what may go out now, in order."""
        self._read(event)
        self._waiting.append(event)
        ready = []
        while self._waiting and not self._is_undecided(self._waiting[0]):
            shown = self._shown(self._waiting.popleft())
            if shown is not None:
                ready.append(shown)
        return ready

    def _read(self, event: _Event) -> None:
        if event.type in (_ADDED, _DONE):
            item = orjson.loads(event.body)["item"]
            reader = _Tools._announced if event.type == _ADDED else _Tools._closed
            reader(self, item)
        elif event.type == _RESUMED or event.type in _TERMINAL:
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

    def _is_undecided(self, event: _Event) -> bool:
        if event.type != _ADDED:
            return False  # the events of an item follow its announcement
        call = self._by_item.get(orjson.loads(event.body)["item"]["id"])
        return call is not None and not call.is_settled

    def _shown(self, event: _Event) -> _Event | None:
        if event.type in _TERMINAL:
            return self._terminal(event)
        if event.type == _ADDED:
            self._place(orjson.loads(event.body))
        elif event.type not in (_DONE, *_ARGUMENTS) and not self._shifted:
            return event
        body = orjson.loads(event.body)
        index = body.get("output_index")
        if type(index) is int and index in self._indexes:
            if self._indexes[index] is None:
                return None
            body["output_index"] = self._indexes[index]
        return _Event(event.seq, event.type, orjson.dumps(self._renamed(body)))

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
        if body["type"] == _ADDED:
            return {**body, "item": _mcp_shell(body["item"], self._label)}
        if body["type"] == _DONE:
            assert call.final is not None and call.output is not None
            return {**body, "item": _mcp_call(call.final, call.output, self._label)}
        if body["type"] in _ARGUMENTS:
            body.pop("name", None)
            return {**body, "type": _ARGUMENTS[body["type"]]}
        return body

    def _terminal(self, event: _Event) -> _Event:
        if b'"function_call_output"' not in event.body:
            return event
        body = orjson.loads(event.body)
        body["response"]["output"] = _paired(body["response"]["output"], self._label)
        return _Event(event.seq, event.type, orjson.dumps(body))


class _Marker:
    """response.resumed -> response.in_progress."""

    def __init__(self, response_id: str) -> None:
        self._response: Json = {"id": response_id, "object": "response"}
        self._closed: dict[int, Any] = {}

    def take(self, event: _Event) -> _Event:
        if event.type == _CREATED:
            self._response = orjson.loads(event.body)["response"]
        elif event.type == _DONE:
            done = orjson.loads(event.body)
            self._closed[done["output_index"]] = done["item"]
        elif event.type == _RESUMED:
            return self._in_progress(event)
        return event

    def _in_progress(self, event: _Event) -> _Event:
        attempt = orjson.loads(event.body)["attempt"]
        response = {
            **self._response,
            "status": "in_progress",
            "attempt_number": attempt,
            "output": [item for _, item in sorted(self._closed.items())],
        }
        body = {
            "type": "response.in_progress",
            "response": response,
            "attempt": attempt,
            "resumed": True,
        }
        return _Event(event.seq, body["type"], orjson.dumps(body))


def _paired(output: list[Any], label: str) -> list[Any]:
    """An output whose calls are merged with the first output of theirs that comes after them."""
    shown: list[Any] = []
    calls: dict[str, int] = {}
    for item in output:
        kind = item.get("type") if isinstance(item, dict) else None
        call_id = item.get("call_id") if kind else None
        if kind == "function_call_output" and call_id in calls:
            position = calls.pop(call_id)
            shown[position] = _mcp_call(shown[position], item, label)
            continue
        if kind == "function_call" and isinstance(call_id, str):
            calls[call_id] = len(shown)
        shown.append(item)
    return shown


def _mcp_shell(call: Json, label: str) -> Json:
    return {
        "id": call["id"],
        "type": "mcp_call",
        "status": "in_progress",
        "server_label": label,
        "name": call.get("name", ""),
        "arguments": "",
        "output": None,
        "error": None,
    }


def _mcp_call(call: Json, output: Json, label: str) -> Json:
    statuses = [item.get("status") or "completed" for item in (output, call)]
    return {
        **_mcp_shell(call, label),
        "status": next((status for status in statuses if status != "completed"), "completed"),
        "arguments": call.get("arguments", ""),
        "output": _text(output.get("output")),
    }


def _text(output: object) -> str:
    """A tool's output as the one string an mcp_call has room for."""
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in output
    ):
        return "\n".join(part["text"] for part in output)
    return orjson.dumps(output).decode()


def _choice(query: Mapping[str, str], name: str, known: tuple[Text, ...], default: Text) -> Text:
    sent = query.get(name)
    for value in known:
        if sent == value:
            return value
    if sent is None:
        return default
    choices = " or ".join(f"'{value}'" for value in known)
    raise InvalidRequest(f"'{name}' must be {choices}.", param=name)
