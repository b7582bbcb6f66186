"""How a response ends: one terminal event with the full object, whatever happened before."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pgdurable.envelope import Envelope
from pgdurable.errors import InvalidEvent
from pgdurable.models import Status
from tests.envelope.log import FIELDS, RESPONSE_ID, Log
from tests.support.grammar import check_stream

DETAILS = {
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def test_a_completed_response_carries_the_full_object() -> None:
    log = Log()
    log.feed("Hi")
    response = log.complete()
    assert list(response)[:8] == [
        "id",
        "object",
        "created_at",
        "status",
        "attempt_number",
        "error",
        "incomplete_details",
        "output",
    ]
    assert FIELDS.items() <= response.items()
    assert response["status"] == "completed" and response["attempt_number"] == 1
    assert response["error"] is None and "usage" not in response
    assert set(log.events[-1]) == {"type", "response", "sequence_number", "response_id"}


def test_a_handler_that_yields_nothing_completes_with_no_output() -> None:
    log = Log()
    assert log.complete()["output"] == []
    check_stream(log.events)


def test_a_failure_closes_what_is_open_then_says_why() -> None:
    log = Log()
    log.feed("So far")
    response = log.end(log.envelope.fail("server_error", "it broke"))
    check_stream(log.events)
    error, failed = log.events[-2:]

    assert error == {
        "type": "error",
        "code": "server_error",
        "message": "it broke",
        "param": None,
        "sequence_number": error["sequence_number"],
        "response_id": RESPONSE_ID,
    }
    assert failed["type"] == "response.failed" and log.status is Status.FAILED
    assert response["error"] == {
        "code": "server_error",
        "message": "it broke",
        "type": "server_error",
    }
    assert response["output"][0]["status"] == "incomplete"


def test_a_failure_message_that_is_no_utf8_is_still_told() -> None:
    log = Log()
    response = log.end(log.envelope.fail("server_error", "bad \ud800 text"))
    assert response["error"]["message"] == "bad ? text"


def test_a_cancelled_response_keeps_its_partial_output() -> None:
    log = Log()
    log.feed("So far")
    response = log.end(log.envelope.cancel())
    check_stream(log.events)
    assert log.status is Status.CANCELLED
    assert log.types[-1] == "incomplete" and response["status"] == "cancelled"
    assert response["incomplete_details"] == {"reason": "cancelled"}
    assert response["output"][0]["content"][0]["text"] == "So far"
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    "yielded",
    [
        {"type": "error", "code": "c", "message": "m", "param": None},
        {"type": "error", "error": {"code": "c", "message": "m", "type": "t"}},
        {"error": {"code": "c", "message": "m"}},
    ],
)
def test_a_yielded_error_is_passed_flat_and_fails_the_response(yielded: dict[str, Any]) -> None:
    log = Log()
    (event,) = log.feed(yielded)
    log.feed("afterwards")
    response = log.complete()
    check_stream(log.events)

    assert {"type": "error", "code": "c", "message": "m", "param": None}.items() <= event.items()
    assert response["status"] == "failed" and response["error"]["message"] == "m"
    assert log.types.count("error") == 1


def test_the_first_error_is_the_only_one() -> None:
    log = Log()
    log.feed({"error": "first"}, {"error": "second"})
    response = log.end(log.envelope.fail("server_error", "third"))
    assert response["error"]["message"] == "first" and log.types == ["error", "failed"]


def test_a_failure_that_was_announced_stays_one_although_an_inner_call_completes() -> None:
    log = Log()
    log.feed({"error": "first"}, {"type": "response.completed", "response": {}})
    assert log.complete()["error"]["message"] == "first"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 2, "output_tokens": 3}, (2, 3, 5)),
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 6}, (2, 3, 6)),
        ({"total_tokens": 7.0}, (0, 0, 7)),
    ],
)
def test_usage_is_completed(usage: dict[str, Any], expected: tuple[int, int, int]) -> None:
    log = Log()
    log.envelope.annotate(usage=usage)
    read, written, total = expected
    assert log.complete()["usage"] == {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": total,
        **DETAILS,
    }


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}, {"input_tokens": "many"}])
def test_usage_without_numbers_is_left_out(usage: object) -> None:
    log = Log()
    log.feed({"type": "response.completed", "response": {"usage": usage}})
    log.envelope.annotate(usage=usage)
    assert "usage" not in log.complete()


def test_usage_details_add_up_and_may_not_overflow() -> None:
    log = Log()
    usage = {"input_tokens": 1 << 62, "input_tokens_details": {"cached_tokens": 5}}
    for _ in range(3):
        log.feed({"type": "response.completed", "response": {"usage": usage}})
    total = log.complete()["usage"]
    assert total["input_tokens_details"]["cached_tokens"] == 15
    assert total["input_tokens"] == (1 << 63) - 1


def test_what_the_author_says_beats_what_an_inner_model_said() -> None:
    log = Log()
    inner = {"model": "inner", "metadata": {"a": "1", "b": "1"}, "usage": {"total_tokens": 9}}
    log.feed({"type": "response.completed", "response": inner})
    log.envelope.annotate(
        model="mine", metadata={"b": "2"}, usage={"total_tokens": 1}, custom_outputs={"x": 1}
    )
    response = log.complete()
    assert response["model"] == "mine" and response["custom_outputs"] == {"x": 1}
    assert response["metadata"] == {"from": "request", "a": "1", "b": "2"}
    assert response["usage"]["total_tokens"] == 1


def test_an_annotated_reason_makes_the_response_incomplete() -> None:
    log = Log()
    log.feed("cut")
    log.envelope.annotate(incomplete_details={"reason": "content_filter"})
    response = log.complete()
    check_stream(log.events)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "content_filter"}


def test_metadata_that_no_client_could_send_is_dropped() -> None:
    envelope = Envelope("resp_1", created_at=0, attempt=1, fields={"metadata": 3})
    _, terminal = envelope.complete()
    assert orjson.loads(terminal.event.body)["response"]["metadata"] == {}


def test_a_trace_frame_is_metadata_and_not_an_event() -> None:
    log = Log()
    assert log.feed({"trace_id": "tr-1"}) == []
    assert log.envelope.trace_id == "tr-1"
    assert log.complete()["metadata"]["trace_id"] == "tr-1"


def test_annotating_nothing_or_nonsense_is_told() -> None:
    log = Log()
    log.envelope.annotate(usage=None, model=None)
    with pytest.raises(TypeError, match="colour"):
        log.envelope.annotate(colour="red")
    with pytest.raises(InvalidEvent, match="metadata must be an object"):
        log.envelope.annotate(metadata=[1])
    with pytest.raises(InvalidEvent, match="not JSON"):
        log.envelope.annotate(custom_outputs={"x": float("inf")})
    assert "colour" not in log.complete()
