"""What a response echoes of its request, and the history a handler sees before the input."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pgdurable.errors import InvalidRequest
from pgdurable.requests import parse_request, response_fields, with_history


def fields_of(**sent: Any) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(
        response_fields(parse_request(orjson.dumps({"input": "hi", **sent})), model_default="agent")
    )
    return fields


def test_the_echo_of_a_minimal_request_is_the_template_every_client_accepts() -> None:
    assert fields_of() == {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "agent",
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": None,
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }


def test_what_was_sent_is_echoed() -> None:
    sent: dict[str, Any] = {
        "instructions": "be brief",
        "max_output_tokens": 10,
        "metadata": {"k": "v"},
        "model": "m",
        "parallel_tool_calls": False,
        "previous_response_id": "resp_1",
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [{"type": "function", "name": "f"}],
        "top_p": 1,
        "truncation": "auto",
        "user": "u",
        "max_tool_calls": 3,
        "service_tier": "auto",
        "top_logprobs": 2,
        "prompt_cache_key": "p",
        "safety_identifier": "s",
    }

    fields = fields_of(**sent)

    assert {name: fields[name] for name in sent} == sent


def test_fields_of_a_wrong_type_are_echoed_as_their_default() -> None:
    fields = fields_of(
        model=5,
        tools="x",
        parallel_tool_calls="yes",
        tool_choice=None,
        temperature=True,
        text=[],
        reasoning=3,
        max_tool_calls="many",
    )

    assert fields["model"] == "agent"
    assert fields["tools"] == []
    assert fields["parallel_tool_calls"] is True
    assert fields["tool_choice"] == "auto"
    assert fields["temperature"] is None
    assert fields["text"] == {"format": {"type": "text"}}
    assert fields["reasoning"] is None
    assert "max_tool_calls" not in fields


def test_an_integer_may_be_written_with_a_point() -> None:
    assert fields_of(max_output_tokens=5.0)["max_output_tokens"] == 5
    assert fields_of(max_output_tokens=5.5)["max_output_tokens"] is None


def test_whether_it_is_in_the_background_is_said_by_the_response_not_by_its_request() -> None:
    assert "background" not in fields_of(background=True)


def test_text_keeps_its_format_or_gets_the_default() -> None:
    assert fields_of(text={"verbosity": "low"})["text"] == {
        "format": {"type": "text"},
        "verbosity": "low",
    }
    json_object = {"format": {"type": "json_object"}}
    assert fields_of(text=json_object)["text"] == json_object


@pytest.mark.parametrize("sent", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_echoed_as_an_object_when_it_was_sent(sent: Any) -> None:
    assert fields_of(conversation=sent)["conversation"] == {"id": "conv_1"}
    assert "conversation" not in fields_of()


def test_neither_context_nor_custom_inputs_are_echoed() -> None:
    fields = fields_of(custom_inputs={"secret": 1}, context={"user_id": "u"}, unknown=1)

    assert not {"custom_inputs", "context", "unknown", "input", "stream"} & fields.keys()


def test_references_are_replaced_and_the_chain_comes_first() -> None:
    data = {"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user"}], "model": "m"}
    item = {"type": "message", "id": "msg_1", "role": "assistant"}

    complete = with_history(data, items={"msg_1": item}, chain=[{"n": 1}, {"n": 2}])

    assert complete == {"input": [{"n": 1}, {"n": 2}, item, {"role": "user"}], "model": "m"}
    assert data["input"][0] == {"type": "item_reference", "id": "msg_1"}


def test_a_string_input_after_a_chain_is_its_last_message() -> None:
    complete = with_history({"input": "hi"}, items={}, chain=[{"n": 1}])

    assert complete["input"] == [{"n": 1}, {"type": "message", "role": "user", "content": "hi"}]


def test_an_unknown_reference_is_refused_by_name() -> None:
    data = {"input": [{"type": "item_reference", "id": "msg_404"}]}

    with pytest.raises(InvalidRequest, match="'msg_404' not found") as refused:
        with_history(data, items={"msg_1": {}})

    assert refused.value.param == "input"
