"""What an invoke handler returns becomes the same stream as if it had been yielded."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from pgdurable.errors import InvalidEvent
from tests.envelope.log import Log
from tests.support.grammar import check_stream

MESSAGE = {"type": "message", "role": "assistant", "content": "Hi"}
CALL = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}


class AgentResponse(pydantic.BaseModel):
    """As authors' frameworks shape it: most fields are unset."""

    object: str = "response"
    output: list[dict[str, Any]]
    custom_outputs: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    status: str | None = None
    error: dict[str, Any] | None = None


def returned(value: object) -> dict[str, Any]:
    log = Log()
    log.store(log.envelope.result(value))
    response = log.complete()
    assert check_stream(log.events) == response["output"]
    return response


@pytest.mark.parametrize(
    "value",
    [
        "Hi",
        MESSAGE,
        {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
        [MESSAGE],
        ["Hi"],
        {"output": "Hi"},
        {"output": MESSAGE},
        {"output": [MESSAGE]},
        AgentResponse(output=[MESSAGE]),
    ],
)
def test_every_way_to_return_a_message_is_a_message(value: object) -> None:
    (item,) = returned(value)["output"]
    assert item["content"] == [{"type": "output_text", "text": "Hi", "annotations": []}]
    assert item["role"] == "assistant" and item["status"] == "completed"


def test_a_returned_message_is_streamed_with_one_delta() -> None:
    log = Log()
    log.store(log.envelope.result("Hi"))
    assert log.types == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]


def test_other_fields_of_a_returned_response_are_kept() -> None:
    """The seed discards them for background responses."""
    value = AgentResponse(
        output=[CALL, MESSAGE], custom_outputs={"x": 1}, usage={"input_tokens": 1}
    )
    response = returned(value)
    assert response["custom_outputs"] == {"x": 1} and response["usage"]["total_tokens"] == 1
    assert [item["type"] for item in response["output"]] == ["function_call", "message"]
    assert response["status"] == "completed"


def test_a_returned_response_may_be_incomplete_or_failed() -> None:
    details = {"reason": "max_output_tokens"}
    assert returned({"output": [], "incomplete_details": details})["status"] == "incomplete"
    failed = returned(AgentResponse(output=[MESSAGE], error={"message": "no"}))
    assert failed["status"] == "failed" and failed["error"]["message"] == "no"


@pytest.mark.parametrize("value", ["", [], {"output": None}, {"custom_outputs": {"x": 1}}])
def test_nothing_said_is_no_output(value: object) -> None:
    assert returned(value)["output"] == []


@pytest.mark.parametrize(
    "value", [None, 5, {}, {"choices": []}, {"output": 5}, [5], [{"a": 1}], float("nan")]
)
def test_what_is_no_result_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent):
        returned(value)
