"""Inner model streams relayed as they came: their lifecycle stays inside, their items come out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envelope.log import RESPONSE_ID, Log
from tests.support.grammar import check_stream


def inner_call(
    text: str, *, item_id: str = "msg_inner", usage: int = 3, announced: bool = True
) -> list[dict[str, Any]]:
    """One call's stream as the live API sends it, numbers and lifecycle included."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed"}
    at = {"item_id": item_id, "output_index": 0, "content_index": 0}
    response = {
        "id": f"resp_{text}",
        "model": "inner-model",
        "metadata": {text: "seen"},
        "status": "completed",
        "output": [{**item, "content": [part]}],
        "usage": {"input_tokens": usage, "output_tokens": 1, "total_tokens": usage + 1},
    }
    opening = {**item, "content": [], "status": "in_progress"}
    empty = {**part, "text": ""}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "output": []}},
        {"type": "response.in_progress", "response": {**response, "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": opening},
        {"type": "response.content_part.added", **at, "part": empty},
        *({"type": "response.output_text.delta", **at, "delta": c, "logprobs": []} for c in text),
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "content": [part]},
        },
        {"type": "response.completed", "response": response},
    ]
    if not announced:
        events = [event for event in events if "added" not in event["type"]]
    return [{**event, "sequence_number": n} for n, event in enumerate(events)]


def texts(response: dict[str, Any]) -> list[str]:
    return [part["text"] for item in response["output"] for part in item["content"]]


def test_a_relayed_stream_is_stored_event_by_event_without_its_lifecycle() -> None:
    log = Log()
    inner = inner_call("abc")
    log.feed(*inner)
    response = log.complete()
    check_stream(log.events)

    assert log.types == [event["type"].removeprefix("response.") for event in inner[2:]]
    assert response["id"] == RESPONSE_ID and response["model"] == "inner-model"
    assert response["output"][0]["id"] == "msg_inner"
    assert response["metadata"] == {"from": "request", "abc": "seen"}


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("item_id", ["msg_inner", "__fake_id__", RESPONSE_ID])
def test_several_inner_calls_with_the_same_names_are_several_items(
    item_id: str, announced: bool
) -> None:
    log = Log()
    for text in ("one", "two", "three"):
        log.feed(*inner_call(text, item_id=item_id, announced=announced))
    response = log.complete()
    check_stream(log.events)

    assert texts(response) == ["one", "two", "three"]
    assert response["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }


def test_two_items_of_one_placeholder_id_are_told_apart_by_their_index() -> None:
    log = Log()
    name = {"item_id": "__fake_id__"}
    message = {"type": "message", "id": "__fake_id__", "content": []}
    other = {"type": "response.output_item.added", "item": message}
    log.feed({**other, "output_index": 0}, {**other, "output_index": 1})
    for index, letter in ((0, "a"), (1, "b"), (0, "A"), (1, "B")):
        log.feed(
            {
                "type": "response.output_text.delta",
                **name,
                "output_index": index,
                "content_index": 0,
                "delta": letter,
            }
        )
    assert texts(log.complete()) == ["aA", "bB"]


def test_items_that_only_the_inner_end_lists_are_sent() -> None:
    log = Log()
    events = inner_call("quiet")
    log.feed(events[0], events[-1])
    assert texts(log.complete()) == ["quiet"]
    check_stream(log.events)


def test_items_streamed_without_ids_are_not_sent_again_at_the_inner_end() -> None:
    log = Log()
    log.feed("quiet", inner_call("quiet")[-1])
    response = log.complete()
    assert texts(response) == ["quiet"]


def test_an_item_the_inner_stream_left_open_ends_with_it() -> None:
    log = Log()
    events = inner_call("abc")
    log.feed(*events[:6], events[-1])
    assert log.types[-1] == "output_item.done"
    assert texts(log.complete()) == ["abc"]


def test_an_inner_call_cut_short_makes_the_response_incomplete() -> None:
    log = Log()
    *events, end = inner_call("abc")
    details = {"incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete"}
    log.feed(*events, {"type": "response.incomplete", "response": {**end["response"], **details}})
    response = log.complete()
    check_stream(log.events)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert texts(response) == ["abc"]


def test_a_reason_is_always_named_because_clients_read_none_as_success() -> None:
    log = Log()
    log.feed({"type": "response.incomplete", "response": {}})
    assert log.complete()["incomplete_details"] == {"reason": "unknown"}


def test_an_inner_failure_makes_the_response_fail_with_its_error() -> None:
    log = Log()
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    log.feed("a", {"type": "response.failed", "response": {"error": error, "status": "failed"}})
    response = log.complete()
    check_stream(log.events)
    assert response["status"] == "failed"
    assert response["error"] == {**error, "type": "server_error"}
    assert log.types[-2:] == ["error", "failed"]


def test_a_retry_that_succeeds_forgets_the_failure_before_it() -> None:
    log = Log()
    log.feed({"type": "response.failed", "response": {"error": {"message": "once"}}})
    log.feed(*inner_call("fine"))
    response = log.complete()
    assert response["status"] == "completed" and response["error"] is None
    assert "error" not in log.types


def test_custom_outputs_of_an_inner_response_are_kept() -> None:
    log = Log()
    log.feed({"type": "response.completed", "response": {"custom_outputs": {"score": 1}}})
    assert log.complete()["custom_outputs"] == {"score": 1}


def test_an_inner_end_without_a_response_is_no_mistake() -> None:
    log = Log()
    log.feed("a", {"type": "response.completed"})
    assert log.complete()["status"] == "completed"
