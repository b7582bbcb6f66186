"""What is not a Responses event is refused with a reason, and leaves no trace."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from pgdurable.envelope import Envelope
from pgdurable.envelope.plain import MAX_EVENT_BYTES, MAX_OUTPUT_BYTES
from pgdurable.errors import InvalidEvent
from tests.envelope.log import Log
from tests.support.grammar import check_stream


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return {"type": "response.deep", "value": value}


class Model(pydantic.BaseModel):
    type: str = "x"
    value: Any = None


def delta(value: object) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": value}


def done(item: object) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


RUBBISH: list[tuple[object, str]] = [
    (None, "not NoneType"),
    (7, "not int"),
    ([delta("a")], "not list"),
    (object(), "object is not JSON"),
    ({}, "no type"),
    ({"delta": "a"}, "it has delta"),
    ({"type": None}, "no type"),
    ({"type": 5}, "not a valid type name"),
    ({"type": "AIMessageChunk", "content": "a"}, "'AIMessageChunk' is no type of an event"),
    ({"type": "function_call", "name": "f"}, "type of an item.*output_item.done"),
    ({"type": "message", "content": "a"}, "type of an item"),
    ({"type": "nul\x00"}, "not a valid type name"),
    ({"type": "line\nfeed"}, "not a valid type name"),
    ({"type": "x" * 200}, "not a valid type name"),
    ({1: 2, "type": "x"}, "a key of type int"),
    ({"type": "x", "a": {"b": [float("nan")]}}, r"event\.a\.b\[0\]: nan is not JSON"),
    ({"type": "x", "a": float("-inf")}, "-inf is not JSON"),
    ({"type": "x", "a": 1 << 64}, "64 bits"),
    ({"type": "x", "a": -(1 << 63) - 1}, "64 bits"),
    ({"type": "x", "a": b"bytes"}, "bytes is not JSON"),
    ({"type": "x", "a": {1, 2}}, "set is not JSON"),
    ({"type": "x", "a": "\ud83d"}, "lone surrogate"),
    ({"type": "x", "\ud83d": 1}, "lone surrogate"),
    ("\ud83d", "lone surrogate"),
    (Model(value="\ud83d"), "lone surrogate"),
    (Model(value=object()), "Model cannot be dumped"),
    (nested(65), "nested deeper than 64"),
    ({"type": "my.x", "a": "y" * MAX_EVENT_BYTES}, "exceeds the limit"),
    (delta(None), "delta must be a string"),
    (delta(["a"]), "delta must be a string"),
    ({**delta("a"), "extra": "y" * MAX_EVENT_BYTES}, "exceeds the limit"),
    ({"type": "response.output_text.done", "text": 5}, "text must be a string"),
    ({"type": "response.content_part.added", "part": 5}, "part must be an object"),
    (
        {"type": "response.output_text.annotation.added", "annotation": "a"},
        "annotation must be an object",
    ),
    (done(None), "item must be an object"),
    (done({}), "needs a type"),
    (done({"type": 5}), "type must be a string"),
    (done({"type": "message", "content": 5}), "content must be a list"),
    (done({"type": "message", "content": [5]}), "part must be an object"),
    (done({"type": "x", "a": "y" * MAX_EVENT_BYTES}), "exceeds the limit"),
    ({"type": "response.completed", "response": {"output": ["fine", 5]}}, "must be an object"),
    ({"trace_id": 5}, "trace_id must be a string"),
]


@pytest.mark.parametrize(("yielded", "reason"), RUBBISH)
def test_rubbish_is_refused_with_a_reason(yielded: object, reason: str) -> None:
    log = Log()
    log.feed("before ")
    with pytest.raises(InvalidEvent, match=reason) as refused:
        log.feed(yielded)
    assert len(str(refused.value)) < 400

    log.feed("after")
    response = log.complete()
    check_stream(log.events)
    assert response["status"] == "completed"
    assert [part["text"] for item in response["output"] for part in item["content"]] == [
        "before after"
    ]


def test_a_surrogate_is_refused_on_the_fast_path_too() -> None:
    log = Log()
    log.feed(delta("a"), delta("b"))
    with pytest.raises(InvalidEvent, match="delta"):
        log.feed(delta("\udc00"))
    assert log.complete()["output"][0]["content"][0]["text"] == "ab"


def test_a_transform_that_answers_nothing_is_refused() -> None:
    log = Log(transform=lambda event, response_id: None)
    with pytest.raises(InvalidEvent, match="NoneType"):
        log.feed("a")


def test_what_is_at_the_limits_is_taken() -> None:
    log = Log()
    log.feed(nested(64), {"type": "my.x", "a": [(1 << 64) - 1, -(1 << 63), 1e308, "\x00"]})
    log.feed({"type": "my.x", "a": "y" * (MAX_EVENT_BYTES - 23)})
    assert log.types == ["response.deep".removeprefix("response."), "my.x", "my.x"]


def test_text_has_no_limit_because_it_is_split() -> None:
    log = Log()
    text = "word " * 500_000
    log.feed(done({"type": "message", "content": text}))
    response = log.complete()
    check_stream(log.events)
    assert response["output"][0]["content"][0]["text"] == text


def test_an_output_without_end_ends() -> None:
    envelope = Envelope("resp_x", created_at=0, attempt=1, fields={})
    piece = "x" * MAX_EVENT_BYTES
    for _ in range(MAX_OUTPUT_BYTES // MAX_EVENT_BYTES):
        envelope.feed(piece)
    with pytest.raises(InvalidEvent, match="output exceeds"):
        for _ in range(2):
            envelope.feed(piece)


@pytest.mark.parametrize("kind", ["text", "delta", "item"])
def test_a_text_that_is_too_long_changes_nothing(kind: str) -> None:
    envelope = Envelope("resp_x", created_at=0, attempt=1, fields={})
    text = "x" * (MAX_OUTPUT_BYTES + 1)
    item = {"type": "function_call", "name": "f", "call_id": "c", "arguments": text}
    yielded = {"text": text, "delta": delta(text), "item": done(item)}[kind]
    with pytest.raises(InvalidEvent):
        envelope.feed(yielded)
    assert envelope.complete()[0] == []
