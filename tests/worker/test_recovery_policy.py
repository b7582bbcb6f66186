"""The conversation a request names, and the request that a next attempt gets."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from pgdurable.envelope.previous import PreviousEvent
from pgdurable.requests import conversation_anchor, with_conversation
from pgdurable.worker.recovery import recovery_message, resumed_request


def stored(attempt: int, event: dict[str, Any]) -> PreviousEvent:
    return PreviousEvent(0, attempt, event["type"], event)


def message_event(attempt: int, item_id: str, text: str) -> PreviousEvent:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"id": item_id, "type": "message", "status": "completed", "content": content}
    return stored(attempt, {"type": "response.output_item.done", "output_index": 0, "item": item})


def log_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    _, _, log = message["content"].partition("\n\nEvents:\n")
    entries: list[dict[str, Any]] = json.loads(log)
    return entries


@pytest.mark.parametrize(
    ("request_", "anchor"),
    [
        (
            {
                "custom_inputs": {"thread_id": "t", "session_id": "s"},
                "context": {"conversation_id": "c"},
                "conversation": "v",
            },
            "t",
        ),
        ({"custom_inputs": {"session_id": "s"}, "context": {"conversation_id": "c"}}, "s"),
        ({"context": {"conversation_id": "c"}, "conversation": "v"}, "c"),
        ({"conversation": "v"}, "v"),
        ({"conversation": {"id": "v"}}, "v"),
        ({"custom_inputs": {"thread_id": ""}, "conversation": "v"}, "v"),
        ({"custom_inputs": {"thread_id": 7}, "context": {"conversation_id": None}}, None),
        ({"custom_inputs": ["thread_id"], "context": "c", "conversation": {"id": ["v"]}}, None),
        ({"custom_inputs": None, "context": None, "conversation": None}, None),
        ({"conversation": ""}, None),
        ({}, None),
    ],
)
def test_the_anchor_is_the_first_conversation_id_in_order_of_priority(
    request_: dict[str, Any], anchor: str | None
) -> None:
    assert conversation_anchor(request_) == anchor


def test_every_conversation_id_that_was_sent_is_rewritten() -> None:
    request = {
        "input": "hi",
        "custom_inputs": {"thread_id": "t", "session_id": "s", "color": "red"},
        "context": {"conversation_id": "c", "user_id": "u"},
        "conversation": {"id": "v", "kind": "x"},
    }

    assert with_conversation(request, "t::r-12345678-2") == {
        "input": "hi",
        "custom_inputs": {
            "thread_id": "t::r-12345678-2",
            "session_id": "t::r-12345678-2",
            "color": "red",
        },
        "context": {"conversation_id": "t::r-12345678-2", "user_id": "u"},
        "conversation": {"id": "t::r-12345678-2", "kind": "x"},
    }


def test_a_request_without_a_conversation_gets_one_in_its_context_only() -> None:
    assert with_conversation({"input": "hi"}, "resp_1") == {
        "input": "hi",
        "context": {"conversation_id": "resp_1"},
    }


def test_ids_that_were_sent_empty_or_as_other_types_stay() -> None:
    request = {"custom_inputs": {"thread_id": "", "session_id": 5}, "conversation": ""}

    rewritten = with_conversation(request, "current")

    assert rewritten["custom_inputs"] == {"thread_id": "", "session_id": 5}
    assert rewritten["conversation"] == ""
    assert rewritten["context"] == {"conversation_id": "current"}


def test_rewriting_leaves_the_original_alone() -> None:
    request = {"custom_inputs": {"thread_id": "t"}, "context": {"user_id": "u"}}

    with_conversation(request, "current")

    assert request == {"custom_inputs": {"thread_id": "t"}, "context": {"user_id": "u"}}


def test_rotation_starts_from_the_request_as_sent_so_chains_stay_flat() -> None:
    request = {"input": "hi", "custom_inputs": {"thread_id": "chat-123"}}

    for attempt in (2, 3):
        rotated = f"chat-123::r-9abcdef0-{attempt}"
        assert conversation_anchor(with_conversation(request, rotated)) == rotated
    assert conversation_anchor(request) == "chat-123"


def test_the_recovery_message_is_a_user_message_with_the_tag_and_the_log() -> None:
    message = recovery_message([message_event(1, "msg_1", "hello")])

    assert message["type"] == "message"
    assert message["role"] == "user"
    assert message["content"].startswith("[RECOVERY]")
    assert log_of(message)[0]["item"]["content"][0]["text"] == "hello"


def test_an_attempt_that_left_no_events_gives_an_empty_list() -> None:
    assert log_of(recovery_message([])) == []


def test_the_message_tells_of_all_earlier_attempts_not_just_the_last() -> None:
    events = [message_event(attempt, f"msg_{attempt}", f"try {attempt}") for attempt in (1, 2, 3)]

    assert [entry["attempt"] for entry in log_of(recovery_message(events))] == [1, 2, 3]


def test_a_long_run_fits_the_limit_and_marks_what_was_cut() -> None:
    events = [message_event(1, "msg_0", "x" * 1_000_000), message_event(1, "msg_1", "the end")]

    message = recovery_message(events, max_bytes=10_000)

    assert len(message["content"].encode()) <= 10_000
    first, last = log_of(message)
    assert "characters cut" in first["item"]["content"][0]["text"]
    assert last["item"]["content"][0]["text"] == "the end"


def test_of_too_many_entries_the_oldest_are_left_out_with_a_mark() -> None:
    events = [message_event(1, f"msg_{n}", f"step {n}") for n in range(5_000)]

    message = recovery_message(events, max_bytes=20_000)
    mark, *entries = log_of(message)

    assert len(message["content"].encode()) <= 20_000
    assert mark == {"truncated": f"{5_000 - len(entries)} earlier entries are left out here"}
    assert entries[-1]["item"]["id"] == "msg_4999"
    assert len(entries) > 50


def test_the_default_limit_is_64_kib_and_counts_bytes() -> None:
    events = [message_event(1, f"msg_{n}", "\N{SNOWMAN}" * 300) for n in range(1_000)]

    assert 60_000 < len(recovery_message(events)["content"].encode()) <= 65_536


def test_a_limit_too_small_for_anything_leaves_an_empty_list() -> None:
    assert log_of(recovery_message([message_event(1, "msg_1", "hi")], max_bytes=1)) == []


def test_a_resumed_request_is_the_original_input_and_then_the_message() -> None:
    request = {"input": [{"role": "user", "content": "hi"}], "model": "m", "unknown": {"a": [1]}}

    resumed = resumed_request(
        request, conversation_id="c::r-1-2", events=[message_event(1, "msg_1", "so far")]
    )

    assert resumed["input"][0] == {"role": "user", "content": "hi"}
    assert resumed["input"][1]["content"].startswith("[RECOVERY]")
    assert resumed["context"] == {"conversation_id": "c::r-1-2"}
    assert resumed["model"] == "m"
    assert resumed["unknown"] == {"a": [1]}
    assert request["input"] == [{"role": "user", "content": "hi"}]


def test_a_string_input_becomes_a_list() -> None:
    resumed = resumed_request({"input": "hi"}, conversation_id="c", events=[])

    assert resumed["input"][0] == {"type": "message", "role": "user", "content": "hi"}
    assert len(resumed["input"]) == 2


def test_a_nul_in_earlier_text_survives_without_a_raw_one() -> None:
    message = recovery_message([message_event(1, "msg_1", "a\0b")])

    assert "\0" not in message["content"]
    assert log_of(message)[0]["item"]["content"][0]["text"] == "a\0b"
    assert orjson.loads(orjson.dumps(message)) == message
