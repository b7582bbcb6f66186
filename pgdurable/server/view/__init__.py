"""How one reader wants to see a stream that is stored in one way only; pure.

Two projections for strict clients (docs/wire.md 7), applied when reading:

* `tools=mcp_call`: a `function_call` in an output means "client, run this tool". Calls that the
  agent has executed itself (a call and its `function_call_output`) go out as one `mcp_call`.
* `resume_marker=in_progress`: `response.resumed`, which no SDK knows, goes out as
  `response.in_progress`, with the items so far.

Every projected event keeps the number of the event it is made from; events that have no place in
the projection leave a gap. Whether a call is executed shows only at its output, so the stream
waits there: from the call on, events are kept back until its output is closed, or until the
attempt or the response ends, and the call remains a `function_call`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, get_args

from pgdurable.config import ResumeMarker, Tools
from pgdurable.errors import InvalidRequest
from pgdurable.server.view.events import Json, SeenEvent
from pgdurable.server.view.marker import ResumeAsProgress
from pgdurable.server.view.pairs import paired
from pgdurable.server.view.tools import Tooling

__all__ = ["Choices", "Projection", "StoredEvent", "project_response"]

Text = TypeVar("Text", bound=str)


class StoredEvent(Protocol):
    """An event as it comes from the log."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Choices:
    """What a reader sees in place of what is stored."""

    tools: Tools = "function_call"
    resume_marker: ResumeMarker = "resumed"

    @classmethod
    def of(cls, query: Mapping[str, str], *, tools: Tools, resume_marker: ResumeMarker) -> Choices:
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

    def __init__(self, choices: Choices, *, label: str = "agent", after: int = -1) -> None:
        self._after = after
        self._tools = Tooling(label) if choices.tools == "mcp_call" else None
        self._marker = ResumeAsProgress() if choices.resume_marker == "in_progress" else None

    def project(self, stored: Sequence[StoredEvent]) -> list[tuple[int, bytes]]:
        """The (seq, body) that these events allow to go out now; often none, sometimes many."""
        events: Iterable[SeenEvent] = [
            SeenEvent(event.seq, event.type, event.body) for event in stored
        ]
        if self._tools is not None:
            events = [ready for event in events for ready in self._tools.take(event)]
        if self._marker is not None:
            events = [self._marker.take(event) for event in events]
        return [(event.seq, event.body) for event in events if event.seq > self._after]


def project_response(response: Json, choices: Choices, *, label: str = "agent") -> Json:
    """The same for a response object, finished or not; the one given stays as it is."""
    if choices.tools != "mcp_call":
        return response
    output = response.get("output")
    if not isinstance(output, list):
        return response
    return {**response, "output": paired(output, label)}


def _choice(query: Mapping[str, str], name: str, known: tuple[Text, ...], default: Text) -> Text:
    sent = query.get(name)
    for value in known:
        if sent == value:
            return value
    if sent is None:
        return default
    choices = " or ".join(f"'{value}'" for value in known)
    raise InvalidRequest(f"'{name}' must be {choices}.", param=name)
