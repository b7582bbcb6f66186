"""Deltas folded into their items."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdurable.envelope.previous import PreviousEvent, read_previous
from pgdurable.models import Event
from pgdurable.worker.recovery import fold_events


def stored(attempt: int, type_: str, /, **fields: Any) -> PreviousEvent:
    return PreviousEvent(0, attempt, type_, {"type": type_, **fields})


def added(attempt: int, item: dict[str, Any]) -> PreviousEvent:
    return stored(attempt, "response.output_item.added", output_index=0, item=item)


def done(attempt: int, item: dict[str, Any]) -> PreviousEvent:
    return stored(attempt, "response.output_item.done", output_index=0, item=item)


def text_delta(attempt: int, item_id: str, delta: str, content_index: int = 0) -> PreviousEvent:
    return stored(
        attempt,
        "response.output_text.delta",
        item_id=item_id,
        content_index=content_index,
        delta=delta,
    )


def test_text_that_broke_off_is_one_incomplete_item() -> None:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
    events = [
        stored(1, "response.in_progress", response={}),
        added(1, message),
        stored(1, "response.content_part.added", item_id="msg_1", content_index=0, part={}),
        text_delta(1, "msg_1", "Hel"),
        text_delta(1, "msg_1", "lo"),
    ]

    assert fold_events(events) == [
        {
            "attempt": 1,
            "item": {
                **message,
                "status": "incomplete",
                "content": [{"type": "output_text", "text": "Hello"}],
            },
        }
    ]


def test_a_closed_item_is_kept_as_it_was_closed() -> None:
    item = {"id": "fc_1", "type": "function_call", "name": "f", "arguments": "{}"}
    events = [
        added(1, {**item, "arguments": ""}),
        stored(1, "response.function_call_arguments.delta", item_id="fc_1", delta="{}"),
        done(1, {**item, "status": "completed"}),
    ]

    assert fold_events(events) == [{"attempt": 1, "item": {**item, "status": "completed"}}]


def test_a_closed_item_without_a_status_counts_as_completed() -> None:
    (entry,) = fold_events([done(1, {"id": "x", "type": "function_call_output", "output": "7"})])

    assert entry["item"]["status"] == "completed"


def test_an_orphan_closed_by_the_next_attempt_stays_with_the_one_that_began_it() -> None:
    orphan = {"id": "msg_1", "type": "message", "status": "incomplete", "content": []}
    events = [
        added(1, {"id": "msg_1", "type": "message"}),
        text_delta(1, "msg_1", "lost"),
        stored(2, "response.resumed", attempt=2, from_seq=4, conversation_id="c"),
        done(2, orphan),
        added(2, {"id": "msg_2", "type": "message"}),
        text_delta(2, "msg_2", "again"),
    ]

    first, second = fold_events(events)

    assert first == {"attempt": 1, "item": orphan}
    assert second["attempt"] == 2
    assert second["item"]["content"][0]["text"] == "again"


@pytest.mark.parametrize(
    ("family", "index", "expected"),
    [
        ("refusal", "content_index", {"content": [{"type": "refusal", "refusal": "no way"}]}),
        (
            "reasoning_text",
            "content_index",
            {"content": [{"type": "reasoning_text", "text": "no way"}]},
        ),
        (
            "reasoning_summary_text",
            "summary_index",
            {"summary": [{"type": "summary_text", "text": "no way"}]},
        ),
        ("function_call_arguments", None, {"arguments": "no way"}),
        ("mcp_call_arguments", None, {"arguments": "no way"}),
        ("custom_tool_call_input", None, {"input": "no way"}),
        ("code_interpreter_call_code", None, {"code": "no way"}),
    ],
)
def test_every_kind_of_delta_lands_in_its_field(
    family: str, index: str | None, expected: dict[str, Any]
) -> None:
    where = {"item_id": "i", **({index: 0} if index else {})}
    events = [
        added(1, {"id": "i", "type": "t"}),
        stored(1, f"response.{family}.delta", **where, delta="no "),
        stored(1, f"response.{family}.delta", **where, delta="way"),
    ]

    (entry,) = fold_events(events)

    assert entry["item"] == {"id": "i", "type": "t", "status": "incomplete", **expected}


def test_a_done_event_says_the_whole_text_once() -> None:
    events = [
        text_delta(1, "msg_1", "Hel"),
        text_delta(1, "msg_1", "lo"),
        stored(1, "response.output_text.done", item_id="msg_1", content_index=0, text="Hello"),
    ]

    (entry,) = fold_events(events)

    assert entry["item"]["content"] == [{"type": "output_text", "text": "Hello"}]


def test_parts_keep_their_order_whatever_their_index() -> None:
    events = [text_delta(1, "m", "two", 10**12), text_delta(1, "m", "one", 3)]

    (entry,) = fold_events(events)

    assert [part["text"] for part in entry["item"]["content"]] == ["one", "two"]


def test_deltas_of_an_item_that_was_never_added_are_not_lost() -> None:
    (entry,) = fold_events([text_delta(1, "msg_9", "stray")])

    assert entry["item"]["type"] == "message"
    assert entry["item"]["id"] == "msg_9"


def test_items_without_ids_stay_apart() -> None:
    events = [done(1, {"type": "note", "n": 1}), done(1, {"type": "note", "n": 2})]

    assert [entry["item"]["n"] for entry in fold_events(events)] == [1, 2]


def test_the_handlers_own_events_stay_and_progress_noise_goes() -> None:
    events = [
        stored(1, "my.progress", percent=40),
        stored(1, "response.mcp_call.in_progress", item_id="mcp_1", output_index=0),
    ]

    assert fold_events(events) == [
        {"attempt": 1, "event": {"type": "my.progress", "percent": 40}},
    ]


@pytest.mark.parametrize(
    "body", [b'{"delta":"\\ud800"}', b'{"n":1e400}', b"[1]", b"null", b"{", b"[" * 2_000]
)
@pytest.mark.parametrize("type_", ["my.event", "response.output_text.delta"])
def test_a_body_that_cannot_be_read_leaves_a_note(type_: str, body: bytes) -> None:
    assert fold_events(read_previous([Event("", 0, 1, type_, body)])) == [
        {"attempt": 1, "event": {"type": type_, "unreadable": True}}
    ]


def test_an_event_nested_too_deep_to_be_written_leaves_a_note() -> None:
    body = b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"

    assert (
        fold_events(read_previous([Event("", 0, 1, "my.event", body)]))[0]["event"]["unreadable"]
        is True
    )


@given(st.lists(st.text(max_size=20), max_size=50))
def test_folding_keeps_all_text_however_it_was_cut(pieces: list[str]) -> None:
    entries = fold_events([text_delta(1, "m", piece) for piece in pieces])

    text = "".join(e["item"]["content"][0]["text"] for e in entries)
    assert text == "".join(pieces)
    assert len(entries) <= 1
