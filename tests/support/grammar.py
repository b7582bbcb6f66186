"""The grammar of a well-formed Responses stream, as one checker for made and for real streams.

Written from docs/wire.md 4 alone: it shares no code with pgdurable.envelope.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]

LIFECYCLE = {"response.queued", "response.in_progress"}
TERMINALS = {"response.completed", "response.failed", "response.incomplete"}
TEXT_EVENTS = {
    # event family: (item type, part type or None, key of the whole text)
    "response.output_text": ("message", "output_text", "text"),
    "response.refusal": ("message", "refusal", "refusal"),
    "response.reasoning_text": ("reasoning", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("reasoning", "summary_text", "text"),
    "response.function_call_arguments": ("function_call", None, "arguments"),
    "response.mcp_call_arguments": ("mcp_call", None, "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", None, "input"),
    "response.code_interpreter_call_code": ("code_interpreter_call", None, "code"),
}
PROGRESS = (
    "response.mcp_call.",
    "response.web_search_call.",
    "response.file_search_call.",
    "response.code_interpreter_call.",
    "response.image_generation_call.",
    "response.mcp_list_tools.",
)
CALLS_KNOWN_BY_CALL_ID = {"function_call", "custom_tool_call", "shell_call", "shell_call_output"}
ITEM_STATUSES = {"completed", "incomplete", "failed"}


@dataclass
class _Part:
    type: str | None
    pieces: list[str] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    text: str | None = None
    closed: bool = False


@dataclass
class _Item:
    index: int
    shell: Event
    attempt: int
    parts: dict[tuple[str, int], _Part] = field(default_factory=dict)
    final: Event | None = None
    promised: Event | None = None

    def count(self, holder: str) -> int:
        return sum(1 for known, _ in self.parts if known == holder)


def check_stream(
    events: list[Event], *, finished: bool = True, abandoned: bool = False
) -> list[Event]:
    """Raise AssertionError where the stream breaks the grammar; returns its final output.

    `finished=False`: the stream may stop anywhere. `abandoned`: a failed response may leave items
    open, as one does whose last worker died and was not replaced.
    """
    grammar = _Grammar()
    for number, event in enumerate(events):
        try:
            grammar.event(number, event)
        except (AssertionError, KeyError, TypeError, IndexError) as exc:
            raise AssertionError(f"event {number}: {exc!r}\n{str(event)[:600]}") from exc
    if finished:
        grammar.end(abandoned=abandoned)
    return grammar.output


class _Grammar:
    def __init__(self) -> None:
        self.response_id: str | None = None
        self.items: list[_Item] = []
        self.ids: set[str] = set()
        self.calls: set[tuple[str, str]] = set()
        self.attempt = 1
        self.error: Event | None = None
        self.terminal: Event | None = None
        self.output: list[Event] = []

    def event(self, number: int, event: Event) -> None:
        kind = event["type"]
        assert event["sequence_number"] == number, "sequence numbers have a gap"
        assert self.terminal is None, "an event after the terminal one"
        assert (kind == "response.created") == (number == 0), "one response.created, first"
        assert not event.get("error"), "a top-level error makes SDKs raise"
        if "resumed" in event:
            self._resumed_in_progress(event)
        elif "response" in event:
            self._lifecycle(kind, event["response"])
        elif kind == "response.resumed":
            self._resumed(event)
        elif kind == "error":
            assert isinstance(event["code"], str) and isinstance(event["message"], str)
            assert "param" in event and self.error is None
            self.error = event
        elif kind == "response.output_item.added":
            self._added(event)
        elif kind == "response.output_item.done":
            self._done(event)
        else:
            self._inside(kind, event)

    def end(self, *, abandoned: bool) -> None:
        assert self.terminal is not None, "the stream has no terminal event"
        status = self.terminal["response"]["status"]
        expected = {
            "response.completed": {"completed"},
            "response.failed": {"failed"},
            "response.incomplete": {"incomplete", "cancelled"},
        }[self.terminal["type"]]
        assert status in expected, f"{self.terminal['type']} with status {status}"
        still_open = [item.shell["id"] for item in self.items if item.final is None]
        assert not still_open or (abandoned and status == "failed"), f"left open: {still_open}"
        if self.error is not None:
            assert status in ("failed", "cancelled"), "an error event, but no failure"
        self._check_response(self.terminal["response"], status, abandoned=abandoned)

    def _check_response(self, response: Event, status: str, *, abandoned: bool) -> None:
        assert isinstance(response["created_at"], (int, float))
        assert isinstance(response["model"], str)
        assert isinstance(response["attempt_number"], int)
        assert (response["error"] is not None) == (status == "failed")
        assert (response["incomplete_details"] is not None) == (
            status in ("incomplete", "cancelled")
        )
        if "usage" in response:
            for key in ("input_tokens", "output_tokens", "total_tokens"):
                assert isinstance(response["usage"][key], int)
        if not abandoned:
            own = [item.final for item in self.items if item.attempt == self.attempt]
            assert response["output"] == own, "the output is not what was closed"
        self.output = response["output"]

    def _lifecycle(self, kind: str, response: Event) -> None:
        if kind == "response.created":
            self.response_id = response["id"]
            assert response["output"] == [] and isinstance(response["model"], str)
            return
        assert kind in LIFECYCLE | TERMINALS, f"unknown lifecycle event {kind}"
        assert response["id"] == self.response_id, "the response changed its id"
        if kind in TERMINALS:
            self.terminal = {"type": kind, "response": response}

    def _resumed(self, event: Event) -> None:
        assert event["attempt"] > self.attempt, "attempts only grow"
        self.attempt = event["attempt"]
        self.error = None

    def _resumed_in_progress(self, event: Event) -> None:
        """The marker as clients get it that know no `response.resumed` (docs/wire.md 7)."""
        assert event["type"] == "response.in_progress" and event["resumed"] is True
        self._lifecycle(event["type"], event["response"])
        assert event["response"]["attempt_number"] == event["attempt"]
        # Clients replace all they have by this snapshot, and expect in it what is closed next.
        snapshot = event["response"]["output"]
        assert len(snapshot) == len(self.items), "the snapshot has other items"
        for item, shown in zip(self.items, snapshot, strict=True):
            assert item.final is None or shown == item.final, "the snapshot is not what was closed"
            item.promised = shown
        self._resumed(event)

    def _added(self, event: Event) -> None:
        item = event["item"]
        assert event["output_index"] == len(self.items), "output indexes are contiguous"
        assert isinstance(item["id"], str) and item["id"] not in self.ids, "item ids never repeat"
        orphans = [i for i in self.items if i.final is None and i.attempt < self.attempt]
        assert not orphans, "orphans are closed before anything new"
        self._check_call(item)
        for holder in ("content", "summary"):
            if item["type"] in ("message", "reasoning"):
                assert not item.get(holder), "an announced item is empty"
        self.ids.add(item["id"])
        self.items.append(_Item(event["output_index"], item, self.attempt))

    def _check_call(self, item: Event) -> None:
        if item["type"] not in CALLS_KNOWN_BY_CALL_ID:
            return
        assert isinstance(item["call_id"], str) and item["call_id"]
        key = (item["type"], item["call_id"])
        assert key not in self.calls, "call ids never repeat"
        self.calls.add(key)

    def _done(self, event: Event) -> None:
        item, final = self._open(event["output_index"], event["item"]["id"]), event["item"]
        assert final["type"] == item.shell["type"], "an item changed its type"
        assert final.get("call_id") == item.shell.get("call_id"), "an item changed its call id"
        assert final["status"] in ITEM_STATUSES
        assert item.promised in (None, final), "the snapshot is not what is closed"
        if item.attempt < self.attempt:
            assert final["status"] == "incomplete", "an orphan is incomplete"
        assert all(part.closed for (holder, _), part in item.parts.items() if holder), "open part"
        for holder in ("content", "summary"):
            if final["type"] in ("message", "reasoning"):
                self._check_parts(item, holder, final.get(holder) or [])
        self._check_field(item, final)
        item.final = final

    def _check_parts(self, item: _Item, holder: str, finals: list[Event]) -> None:
        streamed = item.count(holder)
        assert len(finals) >= streamed
        if item.shell["type"] == "message":
            assert len(finals) == streamed, "a part nobody has seen"
        for index, final in enumerate(finals[:streamed]):
            part = item.parts[holder, index]
            assert final["type"] == part.type
            if part.text is not None:
                assert final["refusal" if part.type == "refusal" else "text"] == part.text
            if final["type"] == "output_text":
                assert final["annotations"][: len(part.annotations)] == part.annotations

    def _check_field(self, item: _Item, final: Event) -> None:
        part = item.parts.get(("", 0))
        if final["type"] in ("function_call", "mcp_call", "custom_tool_call"):
            key = "input" if final["type"] == "custom_tool_call" else "arguments"
            assert isinstance(final[key], str)
            if final["status"] == "completed":
                assert part is not None and part.text == final[key], "arguments were not ended"

    def _inside(self, kind: str, event: Event) -> None:
        family, _, step = kind.rpartition(".")
        if kind.startswith(("response.content_part.", "response.reasoning_summary_part.")):
            self._part(kind, step, event)
        elif kind == "response.output_text.annotation.added":
            part = self._known_part(event, "content", event["content_index"])
            assert part.type == "output_text"
            assert event["annotation_index"] == len(part.annotations)
            part.annotations.append(event["annotation"])
        elif family in TEXT_EVENTS and step in ("delta", "done"):
            self._text(family, step, event)
        elif kind.startswith(PROGRESS):
            item = self._open(event["output_index"], event["item_id"])
            assert kind.split(".")[1] == item.shell["type"]
        elif "output_index" in event:
            assert event["output_index"] < len(self.items), "an unknown output index"

    def _part(self, kind: str, step: str, event: Event) -> None:
        holder = "content" if "content_part" in kind else "summary"
        index = event["content_index" if holder == "content" else "summary_index"]
        item = self._open(event["output_index"], event["item_id"])
        if step == "added":
            assert index == item.count(holder), "part indexes are contiguous"
            item.parts[holder, index] = _Part(event["part"]["type"])
            if (text := _text_key(event["part"]["type"])) is not None:
                assert event["part"][text] == "", "an announced part is empty"
            if event["part"]["type"] == "output_text":
                assert event["part"]["annotations"] == []
            return
        part = self._known_part(event, holder, index)
        assert event["part"]["type"] == part.type
        text = _text_key(part.type)
        if text is not None:
            assert part.text is not None and event["part"][text] == part.text
        part.closed = True

    def _text(self, family: str, step: str, event: Event) -> None:
        item_type, part_type, key = TEXT_EVENTS[family]
        item = self._open(event["output_index"], event["item_id"])
        assert item.shell["type"] == item_type
        if part_type is None:
            part = item.parts.setdefault(("", 0), _Part(None))
        else:
            holder = "summary" if part_type == "summary_text" else "content"
            part = self._known_part(event, holder, event[f"{holder}_index"])
            assert part.type == part_type
        assert part.text is None, "text after its end"
        if family == "response.output_text":
            assert isinstance(event["logprobs"], list)
        if step == "delta":
            assert event["delta"] and len(event["delta"].encode()) <= 32 << 10
            part.pieces.append(event["delta"])
            return
        part.text = event[key]
        if part_type is not None:
            assert part.text == "".join(part.pieces), "the whole is not the sum of its deltas"

    def _known_part(self, event: Event, holder: str, index: int) -> _Part:
        item = self._open(event["output_index"], event["item_id"])
        part = item.parts[holder, index]
        assert not part.closed, "the part is closed"
        return part

    def _open(self, index: int, item_id: str) -> _Item:
        item = self.items[index]
        assert item.shell["id"] == item_id, "index and id are of two items"
        assert item.final is None, "the item is closed"
        return item


def _text_key(part_type: str | None) -> str | None:
    if part_type == "refusal":
        return "refusal"
    return "text" if part_type in ("output_text", "reasoning_text", "summary_text") else None
