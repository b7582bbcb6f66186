"""Items in every shape: announced, closed, named and numbered exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from openai.types.responses import ResponseFunctionToolCall, ResponseTextDeltaEvent

from tests.envelope.log import Log
from tests.support.grammar import check_stream


def added(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item}


def done(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def finished(log: Log) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = log.complete()["output"]
    assert check_stream(log.events) == output
    return output


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}


def test_a_bare_function_call_gets_all_that_clients_need() -> None:
    log = Log()
    events = log.feed(done(type="function_call", name="f", call_id="c", arguments='{"a":1}'))
    (item,) = finished(log)

    assert [event["type"].removeprefix("response.") for event in events] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[0]["item"]["arguments"] == ""
    assert events[2]["name"] == "f"
    assert item["id"].startswith("fc_") and item["status"] == "completed"


def test_a_bare_tool_output_gets_an_announcement_an_id_and_an_index() -> None:
    log = Log()
    log.feed(done(type="function_call_output", call_id="c", output={"a": 1}))
    assert log.types == ["output_item.added", "output_item.done"]
    (item,) = finished(log)
    assert item["id"].startswith("fco_") and item["output"] == '{"a":1}'


@pytest.mark.parametrize("annotations", [True, 7, {"a": 1}, "none"])
def test_what_is_no_list_of_annotations_is_left_alone(annotations: object) -> None:
    log = Log()
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    log.feed(done(type="message", content=[{**part, "annotations": annotations} for part in parts]))
    summary = {"type": "summary_text", "text": "c", "annotations": annotations}
    log.feed({"type": "response.reasoning_summary_part.added", "part": summary})
    message, reasoning = finished(log)
    assert message["content"][0]["annotations"] == []
    assert message["content"][1]["annotations"] == annotations
    assert reasoning["summary"][0]["text"] == "c"


def test_a_bare_message_gets_a_part_one_delta_and_ends() -> None:
    log = Log()
    log.feed(done(type="message", role="assistant", content="Hi"))
    assert log.types == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]


def test_items_are_numbered_in_the_order_of_their_first_appearance() -> None:
    log = Log()
    log.feed(
        {**added(**CALL), "output_index": 5},
        {**added(type="message", id="m"), "output_index": 2},
        {**done(type="message", id="m", content="x"), "output_index": 2},
        {**done(**CALL, arguments="{}"), "output_index": 5},
    )
    assert [item["id"] for item in finished(log)] == ["fc_1", "m"]


def test_an_announcement_after_its_first_delta_is_the_same_item() -> None:
    log = Log()
    log.feed({"type": "response.output_text.delta", "item_id": "m", "delta": "a"})
    log.feed(added(type="message", id="m"), done(type="message", id="m", content="a"))
    assert len(finished(log)) == 1


def test_an_item_never_closed_is_closed_at_the_end() -> None:
    log = Log()
    log.feed(added(**CALL), added(type="reasoning", id="rs_1"))
    output = finished(log)
    assert [item["status"] for item in output] == ["completed", "completed"]
    assert output[0]["arguments"] == "" and output[1]["summary"] == []


def test_a_call_is_announced_only_when_its_call_id_is_known() -> None:
    log = Log()
    piece = {"type": "response.function_call_arguments.delta", "item_id": "fc_9", "delta": '{"a'}
    assert log.feed(piece, {**piece, "delta": '":1}'}) == []
    events = log.feed(done(type="function_call", id="fc_9", call_id="c", name="f"))

    assert events[0]["item"]["call_id"] == "c" and events[1]["delta"] == '{"a":1}'
    assert finished(log)[0]["arguments"] == '{"a":1}'


def test_arguments_end_as_the_handler_says() -> None:
    log = Log()
    log.feed(added(**CALL))
    log.feed(
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a": 1}'}
    )
    log.feed(done(**CALL, arguments='{"a":1}'))
    assert finished(log)[0]["arguments"] == '{"a":1}'


def test_reasoning_streams_its_summary_and_content() -> None:
    log = Log()
    log.feed(
        done(
            type="reasoning",
            summary=[{"type": "summary_text", "text": "short"}],
            content=[{"type": "reasoning_text", "text": "long"}],
            encrypted_content="abc",
        )
    )
    (item,) = finished(log)
    assert "reasoning_summary_text.delta" in log.types and "reasoning_text.delta" in log.types
    assert item["summary"][0]["text"] == "short" and item["encrypted_content"] == "abc"


def test_streamed_reasoning_needs_no_announcement() -> None:
    log = Log()
    log.feed({"type": "response.reasoning_summary_text.delta", "item_id": "rs", "delta": "hm"})
    log.feed(
        {
            "type": "response.reasoning_summary_text.delta",
            "item_id": "rs",
            "summary_index": 1,
            "delta": "so",
        }
    )
    (item,) = finished(log)
    assert [part["text"] for part in item["summary"]] == ["hm", "so"]


@pytest.mark.parametrize(
    ("item", "streamed"),
    [
        ({"type": "mcp_call", "name": "f", "arguments": "{}", "server_label": "s"}, "mcp_call"),
        ({"type": "custom_tool_call", "name": "f", "call_id": "c", "input": "x"}, "custom_tool"),
        ({"type": "code_interpreter_call", "code": "1+1", "container_id": "c"}, "code_interp"),
    ],
)
def test_every_kind_of_call_streams_its_text(item: dict[str, Any], streamed: str) -> None:
    log = Log()
    log.feed(done(**item))
    (closed,) = finished(log)
    assert any(kind.startswith(streamed) and kind.endswith(".delta") for kind in log.types)
    assert item.items() <= closed.items()


def test_a_failed_tool_keeps_its_status() -> None:
    log = Log()
    log.feed(done(type="mcp_call", name="f", arguments="{}", status="failed", error="no"))
    (item,) = finished(log)
    assert item["status"] == "failed" and item["error"] == "no"


def test_an_item_type_nobody_knows_is_passed_on() -> None:
    log = Log()
    log.feed(done(type="hologram", voxels=[1, 2]))
    (item,) = finished(log)
    assert item["voxels"] == [1, 2] and item["id"].startswith("item_")


def test_a_call_id_used_twice_gets_a_fresh_one_that_its_output_follows() -> None:
    log = Log()
    for answer in "ab":
        log.feed(done(type="function_call", name="f", call_id="call_0", arguments="{}"))
        log.feed(done(type="function_call_output", call_id="call_0", output=answer))
    first, output, second, other = finished(log)

    assert first["call_id"] == output["call_id"] == "call_0"
    assert second["call_id"] == other["call_id"] != "call_0"


def test_events_of_unknown_types_are_passed_on_with_our_names() -> None:
    log = Log()
    log.feed(added(type="message", id="resp_1"))
    event = {"type": "response.sparkle", "item_id": "resp_1", "output_index": 9, "error": "x"}
    (passed,) = log.feed({**event, "sequence_number": 3, "response_id": "r", "level": 2})
    (lost,) = log.feed({"type": "response.sparkle", "item_id": "nobody", "output_index": 9})

    assert passed["item_id"].startswith("msg_") and passed["output_index"] == 0
    assert passed["level"] == 2 and "error" not in passed
    assert "output_index" not in lost


def test_progress_of_a_call_is_passed_on_while_it_is_open() -> None:
    log = Log()
    searching = {"type": "response.web_search_call.searching", "item_id": "ws_1"}
    assert log.feed(searching) == []
    log.feed(added(type="web_search_call", id="ws_1"))
    (passed,) = log.feed({**searching, "output_index": 4})
    log.feed(done(type="web_search_call", id="ws_1", status="completed"))
    assert log.feed(searching) == []
    assert passed["output_index"] == 0
    finished(log)


@pytest.mark.parametrize("kind", ["created", "queued", "in_progress", "resumed"])
def test_events_that_only_the_server_may_write_are_dropped(kind: str) -> None:
    log = Log()
    assert log.feed({"type": f"response.{kind}", "response": {"id": "inner"}, "attempt": 9}) == []


class Wrapped(pydantic.BaseModel):
    type: str = "response.output_item.done"
    item: ResponseFunctionToolCall


@dataclass
class Plain:
    type: str
    delta: str


def test_models_and_dataclasses_are_read_like_dicts() -> None:
    log = Log()
    event = ResponseTextDeltaEvent(
        type="response.output_text.delta",
        item_id="m",
        output_index=0,
        content_index=0,
        delta="Hel",
        logprobs=[],
        sequence_number=4,
    )
    log.feed(event, event.model_copy(update={"delta": "lo"}))
    call = ResponseFunctionToolCall(type="function_call", name="f", call_id="c", arguments="{}")
    log.feed(Wrapped(item=call), done(**call.model_dump()), Plain("response.refusal.delta", "no"))
    output = finished(log)
    assert output[0]["content"][0]["text"] == "Hello"
    assert [item["type"] for item in output] == [
        "message",
        "function_call",
        "function_call",
        "message",
    ]


def test_what_was_yielded_may_be_changed_afterwards() -> None:
    log = Log()
    event = added(**CALL, extra={"a": [1]})
    log.feed(event)
    event["item"]["extra"]["a"].append(2)
    assert finished(log)[0]["extra"] == {"a": [1]}


def test_the_transform_sees_every_event_and_the_response_id() -> None:
    seen = []

    def upper(event: dict[str, Any], response_id: str) -> dict[str, Any]:
        seen.append(response_id)
        return {**event, "delta": event["delta"].upper()}

    log = Log(transform=upper)
    log.feed("a", "b", {"type": "response.output_text.delta", "delta": "c"})
    assert finished(log)[0]["content"][0]["text"] == "ABC"
    assert seen == [log.events[0]["response"]["id"]] * 3
