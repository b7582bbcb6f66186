"""The request and the context as a handler sees them."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import orjson
import pytest

from pgdurable import AgentRequest, Context, get_request_headers, replace_fake_id
from pgdurable.agent import Record, request_cancel, set_request_headers
from pgdurable.errors import InvalidEvent
from pgdurable.worker.recovery import recovery_message

SENT: dict[str, Any] = {
    "input": [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"role": "user", "content": [{"type": "input_text", "text": "there"}], "id": None},
    ],
    "model": "m",
    "context": {"conversation_id": "c"},
    "custom_inputs": {"thread_id": "t", "nested": {"a": [1]}},
    "unknown": {"a": {"b": 2}},
}


def test_fields_read_as_attributes_at_every_level() -> None:
    request = AgentRequest(SENT)

    assert request.model == "m"
    assert request.context.conversation_id == "c"
    assert request.input[0].content == "hi"
    assert request.input[1].call_id == "call_1"
    assert request.input[-1].content[0].text == "there"
    assert request.unknown.a.b == 2


def test_fields_read_as_items_too() -> None:
    request = AgentRequest(SENT)

    assert request["context"]["conversation_id"] == "c"
    assert request.input[1].get("name") == "f"
    assert request.get("nothing", 5) == 5
    assert "custom_inputs" in request
    assert "thread_id" in request.custom_inputs


def test_absent_optional_fields_are_none() -> None:
    request = AgentRequest({"input": [{"content": "x"}]})

    assert request.context is None
    assert request.previous_response_id is None
    assert request.temperature is None
    assert request.input[0].id is None
    assert request.input[0].role is None
    assert AgentRequest({"input": "", "context": {}}).context.conversation_id is None


@pytest.mark.parametrize("name", ["modle", "__wrapped__", "_private"])
def test_an_unknown_attribute_is_an_error(name: str) -> None:
    request = AgentRequest(SENT)

    with pytest.raises(AttributeError, match=f"AgentRequest has no field '{name}'"):
        getattr(request, name)
    with pytest.raises(AttributeError, match="Record has no field 'summary'"):
        _ = request.input[0].summary


def test_a_string_input_is_one_user_message() -> None:
    request = AgentRequest({"input": "hi"})

    assert request.input == [{"type": "message", "role": "user", "content": "hi"}]
    assert request.input[-1].content == "hi"


def test_an_item_with_a_role_and_no_type_is_a_message() -> None:
    request = AgentRequest(SENT)

    assert [item.type for item in request.input] == ["message", "function_call", "message"]
    assert "type" not in SENT["input"][0]


@pytest.mark.parametrize("sent", [{}, {"custom_inputs": None, "metadata": None}])
def test_custom_inputs_and_metadata_are_never_none(sent: dict[str, Any]) -> None:
    request = AgentRequest({"input": "hi", **sent})

    assert request.custom_inputs == {}
    assert request.metadata == {}
    request.custom_inputs["session_id"] = "s"
    assert request.custom_inputs == {"session_id": "s"}


def test_custom_inputs_are_plain_dicts_all_the_way_down() -> None:
    custom_inputs = AgentRequest(SENT).custom_inputs

    assert type(custom_inputs) is dict
    assert type(custom_inputs["nested"]) is dict
    assert dict(custom_inputs) == SENT["custom_inputs"]


def test_model_dump_gives_plain_independent_dicts() -> None:
    request = AgentRequest(SENT)

    dumped = request.model_dump()

    assert type(dumped["input"][0]) is dict
    assert type(dumped["input"][2]["content"][0]) is dict
    assert dumped["unknown"] == {"a": {"b": 2}}
    dumped["input"][0]["content"] = "changed"
    assert request.input[0].content == "hi"
    assert [item.model_dump() for item in request.input] == request.model_dump()["input"]


def test_model_dump_takes_pydantics_keywords() -> None:
    request = AgentRequest({**SENT, "metadata": {"a": None}})

    assert "id" in request.input[2].model_dump(mode="json", by_alias=True)
    assert "id" not in request.input[2].model_dump(exclude_none=True, exclude_unset=True)
    assert request.model_dump(exclude_none=True, exclude_defaults=True)["metadata"] == {}
    assert json.loads(request.input[0].model_dump_json()) == request.input[0]


def test_records_are_json_objects_for_every_library() -> None:
    request = AgentRequest(SENT)

    assert isinstance(request.input[0], dict)
    assert json.loads(json.dumps(request)) == request
    assert orjson.loads(orjson.dumps(request)) == request
    assert isinstance(copy.deepcopy(request), AgentRequest)
    assert copy.deepcopy(request) == request


def test_a_handler_may_change_its_request_without_changing_what_was_sent() -> None:
    request = AgentRequest(SENT)

    request.model = "other"
    request.input.append(Record({"role": "user", "content": "more"}))
    request.input[0].content = "changed"
    request.custom_inputs["nested"]["a"].append(2)

    assert request.model == request["model"] == "other"
    assert SENT["model"] == "m"
    assert len(SENT["input"]) == 3
    assert SENT["input"][0]["content"] == "hi"
    assert SENT["custom_inputs"]["nested"]["a"] == [1]


def test_input_of_any_shape_gives_a_list() -> None:
    assert AgentRequest({}).input == []
    assert AgentRequest({"input": None}).input == []
    assert AgentRequest({"input": []}).input == []


PARTS = [{"type": "input_text", "text": "Ada"}, {"type": "input_image"}, {"text": "Bob"}]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("Ada", "Ada"),
        ([{"role": "user", "content": "Ada"}], "Ada"),
        ([{"type": "message", "role": "user", "content": PARTS}], "Ada\nBob"),
        ([{"role": "user", "content": "Ada"}, {"role": "assistant", "content": "Hi"}], "Ada"),
        ([{"role": "user", "content": "Ada"}, {"role": "user", "content": "Bob"}], "Bob"),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "assistant", "content": "Hi"}, SENT["input"][1]], ""),
        (["no item", 7], ""),
        (None, ""),
    ],
)
def test_the_text_of_a_request_is_what_the_user_said_last(sent: Any, text: str) -> None:
    assert AgentRequest({"input": sent}).text == text


def test_a_request_is_made_of_a_text() -> None:
    request = AgentRequest("Ada")
    assert (request.text, len(request.messages), request.metadata) == ("Ada", 1, {})


def test_neither_text_nor_messages_have_the_notes_of_recovery() -> None:
    note = recovery_message([])
    request = AgentRequest({"input": [*SENT["input"], note]})
    assert request.text == "there"
    assert [item.role for item in request.messages] == ["user", "user"]
    assert request.input[-1].content == note["content"]
    assert AgentRequest(request).text == "there"


def test_the_output_format_of_the_responses_api_is_an_item_of_the_request() -> None:
    request = AgentRequest({"input": "Ada", "text": {"format": {"type": "text"}}})
    assert request["text"].format.type == "text"
    assert request.text == "Ada"


async def test_a_context_reads_previous_events_and_collects_annotations() -> None:
    async def read() -> list[dict[str, Any]]:
        return [{"type": "response.in_progress"}]

    context = Context(
        response_id="resp_1", attempt=2, conversation_id="c::r-1-2", read_previous_events=read
    )
    context.usage = {"input_tokens": 1}
    context.trace_id = "tr-1"
    context.custom_outputs = {}

    assert await context.previous_events() == [{"type": "response.in_progress"}]
    assert context.annotations() == {
        "trace_id": "tr-1",
        "usage": {"input_tokens": 1},
        "custom_outputs": {},
    }


async def test_a_first_attempt_has_no_previous_events_and_no_annotations() -> None:
    context = Context(response_id="resp_1", attempt=1, conversation_id="c")

    assert await context.previous_events() == []
    assert context.annotations() == {}
    assert context.is_recovery is False


def test_a_mistyped_context_field_is_an_error() -> None:
    context = Context(response_id="resp_1", attempt=1, conversation_id="c")

    with pytest.raises(AttributeError):
        setattr(context, "usgae", {})  # noqa: B010


def test_a_context_tells_when_to_stop() -> None:
    context = Context(response_id="resp_1", attempt=1, conversation_id="c")
    assert not context.cancel_requested

    request_cancel(context)

    assert context.cancel_requested


async def test_request_headers_have_lower_case_names_and_stay_in_their_task() -> None:
    async def serve(token: str) -> dict[str, str]:
        set_request_headers({"X-Forwarded-Access-Token": token})
        await asyncio.sleep(0)
        return get_request_headers()

    served = await asyncio.gather(
        *(asyncio.create_task(serve(token)) for token in ("one", "two")),
    )

    assert served == [{"x-forwarded-access-token": token} for token in ("one", "two")]
    assert get_request_headers() == {}


async def test_a_handler_cannot_change_the_headers_of_others() -> None:
    set_request_headers({"A": "1"})

    get_request_headers()["a"] = "2"

    assert get_request_headers() == {"a": "1"}


def test_both_sdks_placeholder_ids_are_replaced_at_every_level() -> None:
    event = {
        "id": "__fake_id__",
        "items": [{"id": "resp_placeholder_0f"}, "__fake_id__", 5, None],
        "delta": "my __fake_id__ stays",
        "__fake_id__": "not_resp_placeholder_1",
    }

    assert replace_fake_id(event, "resp_1") == {
        "id": "resp_1",
        "items": [{"id": "resp_1"}, "resp_1", 5, None],
        "delta": "my __fake_id__ stays",
        "__fake_id__": "not_resp_placeholder_1",
    }
    assert event["id"] == "__fake_id__"


def test_an_event_that_contains_itself_is_no_event() -> None:
    event: dict[str, Any] = {"type": "x"}
    event["twice"] = [event, event]
    with pytest.raises(InvalidEvent, match="nested deeper"):
        replace_fake_id(event, "resp_1")
