"""An attempt that starts over: what the log has is recognised, what is new goes on behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdurable.envelope import Envelope
from pgdurable.envelope.retrace import Retrace
from pgdurable.errors import InvalidEvent
from pgdurable.models import NewEvent
from tests.envelope.log import CREATED_AT, FIELDS, RESPONSE_ID, Event, Log
from tests.envelope.yields import yields
from tests.support.grammar import check_stream

CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "search"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "found"}


def fresh(attempt: int) -> Envelope:
    return Envelope(RESPONSE_ID, created_at=CREATED_AT, attempt=attempt, fields=FIELDS)


class Again(Log):
    """A log whose later attempts start over."""

    envelope: Any

    def start(self) -> Any:
        if self.attempt == 0:
            return super().start()
        self.attempt += 1
        self.envelope = Retrace(lambda: fresh(self.attempt), self.previous(), marker=self._marker)
        return self.envelope

    def _marker(self) -> NewEvent:
        fields = {"attempt": self.attempt, "from_seq": len(self.stored)}
        body = {"type": "response.resumed", **fields, "conversation_id": RESPONSE_ID}
        return NewEvent("response.resumed", None, orjson.dumps(body))

    def cut(self, at: int) -> None:
        """The process dies here; the next attempt begins."""
        del self.stored[at:]
        self.start()

    @property
    def is_seamless(self) -> bool:
        return not any(kind == "response.resumed" for kind, _ in self.stored)


def text_of(events: Iterable[Event]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


def unnamed(output: list[Any]) -> list[Any]:
    """Items without the ids that are made up anew each time."""
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in output]


def in_pieces(value: object, data: st.DataObject) -> list[object]:
    """The same text, cut elsewhere."""
    if not isinstance(value, str) or len(value) < 2:
        return [value]
    at = data.draw(st.integers(1, len(value) - 1))
    return [value[:at], value[at:]]


def accepted(values: list[object]) -> list[object]:
    """Those that a handler may yield."""
    envelope, valid = fresh(1), list[object]()
    for value in values:
        try:
            envelope.feed(value)
        except InvalidEvent:
            continue
        valid.append(value)
    return valid


def test_text_goes_on_in_mid_word_and_the_reader_gets_each_character_once() -> None:
    log = Again()
    log.feed("Hello wor")
    log.cut(len(log.stored))
    assert log.feed("Hel", "lo w") == []
    (event,) = log.feed("orld, and")
    assert event["delta"] == "ld, and"
    log.feed(" good night")
    response = log.complete()

    assert log.is_seamless
    assert text_of(log.events) == "Hello world, and good night"
    assert check_stream(log.events) == response["output"]
    assert response["output"][0]["content"][0]["text"] == "Hello world, and good night"
    assert {e["item_id"] for e in log.events if "item_id" in e} == {response["output"][0]["id"]}


def test_what_is_said_again_in_other_chunks_is_the_same() -> None:
    log = Again()
    log.feed("a", "b", "c")
    log.cut(len(log.stored))
    assert log.feed("abc") == []
    assert [event["delta"] for event in log.feed("d")] == ["d"]


def test_an_item_keeps_its_ids_when_the_new_attempt_calls_it_otherwise() -> None:
    log = Again()
    log.feed({"type": "response.output_item.done", "item": {**CALL, "arguments": "{}"}})
    log.cut(len(log.stored))
    again = {**CALL, "id": "fc_9", "call_id": "call_9", "arguments": "{}"}
    assert log.feed({"type": "response.output_item.done", "item": again}) == []
    log.feed({"type": "response.output_item.done", "item": {**RESULT, "call_id": "call_9"}})
    call, output = log.complete()["output"]

    assert log.is_seamless
    assert (call["id"], call["call_id"], output["call_id"]) == ("fc_1", "call_1", "call_1")


def test_an_event_of_the_handlers_own_is_recognised_too() -> None:
    log = Again()
    log.feed({"type": "my.progress", "percent": 50}, "text")
    log.cut(len(log.stored))
    assert log.feed({"type": "my.progress", "percent": 50}, "text") == []
    assert log.feed({"type": "my.progress", "percent": 90}) != []
    assert log.is_seamless


@pytest.mark.parametrize(
    "other",
    [["Hello you"], [{"type": "my.own"}], [{"type": "response.output_item.done", "item": CALL}]],
)
def test_something_else_comes_after_a_marker_and_is_told_from_its_beginning(
    other: list[object],
) -> None:
    log = Again()
    log.feed("Hello world")
    log.cut(len(log.stored))
    assert log.feed("Hello ") == []
    at = len(log.stored)
    events = log.feed(*other)
    response = log.complete()

    assert events[0]["type"] == "response.resumed" and events[0]["from_seq"] == at
    assert check_stream(log.events) == response["output"]
    assert text_of(log.events[at:]).startswith("Hello ")
    assert "world" not in str(response["output"])


def test_an_attempt_that_says_less_than_the_log_says_something_else() -> None:
    log = Again()
    log.feed("Hello world")
    log.cut(len(log.stored))
    log.feed("Hello")
    response = log.complete()

    assert not log.is_seamless
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert check_stream(log.events) == response["output"]


def test_after_something_else_the_third_attempt_retraces_the_second() -> None:
    log = Again()
    log.feed("one two")
    log.cut(len(log.stored))
    log.feed("one three")
    log.cut(len(log.stored))
    assert log.feed("one ", "three") == []
    log.feed(" four")
    response = log.complete()

    assert [kind for kind, _ in log.stored].count("response.resumed") == 1
    assert response["output"][0]["content"][0]["text"] == "one three four"
    assert check_stream(log.events) == response["output"]


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_an_end_before_it_has_caught_up_keeps_what_readers_have_seen(how: str) -> None:
    log = Again()
    log.feed({"type": "response.output_item.done", "item": CALL}, "Hello world")
    log.cut(len(log.stored))
    log.feed({"type": "response.output_item.done", "item": CALL}, "Hello")
    ended = log.envelope.cancel() if how == "cancel" else log.envelope.fail("server_error", "no")
    response = log.end(ended)

    assert log.is_seamless
    call, message = response["output"]
    assert call["id"] == "fc_1" and message["status"] == "incomplete"
    assert message["content"][0]["text"] == "Hello world"
    assert check_stream(log.events) == response["output"]


def test_an_end_after_it_has_caught_up_is_its_own() -> None:
    log = Again()
    log.feed("Hello")
    log.cut(len(log.stored))
    log.feed("Hello world")
    response = log.end(log.envelope.cancel())
    assert response["output"][0]["content"][0]["text"] == "Hello world"


def test_what_is_said_of_the_whole_response_is_kept_also_after_a_marker() -> None:
    log = Again()
    log.feed("Hello world")
    log.cut(len(log.stored))
    log.feed("Hello")
    log.envelope.annotate(trace_id="tr-1")
    assert log.complete()["metadata"]["trace_id"] == "tr-1"


def test_an_invoke_handler_that_returns_the_same_ends_without_a_seam() -> None:
    log = Again()
    log.store(log.envelope.result("Hello world"))
    log.cut(len(log.stored) - 2)
    log.store(log.envelope.result("Hello world"))
    response = log.complete()
    assert log.is_seamless and check_stream(log.events) == response["output"]


@settings(max_examples=300)
@given(st.lists(yields, max_size=12), st.data())
def test_a_handler_that_says_the_same_leaves_no_seam_wherever_it_was_cut(
    values: list[object], data: st.DataObject
) -> None:
    values = accepted(values)
    whole = Log()
    for value in values:
        whole.feed(*in_pieces(value, data))
    response = whole.complete()
    log = Again()
    log.stored[:] = whole.stored
    for _ in range(data.draw(st.integers(1, 2))):
        log.cut(data.draw(st.integers(2, len(log.stored) - 1)))
        known = log.stored[:]
        for value in values:
            log.feed(*in_pieces(value, data))
        again = log.complete()
        assert log.stored[: len(known)] == known

        assert log.is_seamless
        assert check_stream(log.events) == again["output"]
        assert unnamed(again["output"]) == unnamed(response["output"])
        assert text_of(log.events) == text_of(whole.events)


@settings(max_examples=300)
@given(st.lists(yields, max_size=8), st.lists(yields, max_size=8), st.data())
def test_whatever_the_next_attempt_says_the_stream_is_well_formed_and_its_own_in_the_end(
    first: list[object], second: list[object], data: st.DataObject
) -> None:
    whole = Log()
    whole.feed(*accepted(first))
    whole.complete()
    second = data.draw(st.sampled_from([second, first + second, first[:3] + second]))
    second = accepted(second)
    alone = Log()
    alone.feed(*second)
    expected = alone.complete()
    log = Again()
    log.stored[:] = whole.stored
    log.cut(data.draw(st.integers(2, len(log.stored) - 1)))
    log.feed(*second)
    response = log.complete()

    assert check_stream(log.events) == response["output"]
    assert response["status"] == expected["status"]
    assert unnamed(response["output"]) == unnamed(expected["output"])
