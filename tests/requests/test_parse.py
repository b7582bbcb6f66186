"""What a request may be, and what it becomes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdurable.errors import InvalidRequest
from pgdurable.requests.parse import MAX_DEPTH, parse_request, response_fields


def body_of(**fields: Any) -> bytes:
    return orjson.dumps({"input": "hi", **fields})


def refusal_of(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(body)
    return refused.value


def test_a_minimal_request_has_the_published_defaults() -> None:
    request = parse_request(b'{"input":"hi"}')

    assert (request.stream, request.background, request.store) == (False, False, True)
    assert request.conversation_id is None
    assert request.previous_response_id is None
    assert request.item_references == []
    assert request.metadata == {}


def test_null_is_the_default_where_the_sdks_allow_it() -> None:
    request = parse_request(
        body_of(stream=None, background=None, store=None, metadata=None, previous_response_id=None)
    )

    assert (request.stream, request.background, request.store) == (False, False, True)
    assert request.metadata == {}
    assert request.previous_response_id is None


def test_unknown_keys_and_item_types_are_kept_as_sent() -> None:
    sent = {"input": [{"type": "holo_call", "x": {"y": [1, None]}}], "zeta": 1, "alpha": [True]}

    request = parse_request(orjson.dumps(sent, option=orjson.OPT_INDENT_2))

    assert request.body == orjson.dumps(sent)
    assert request.data == sent


def test_the_fields_the_server_acts_on_are_read() -> None:
    request = parse_request(
        body_of(
            stream=True,
            background=True,
            metadata={"k": "v"},
            previous_response_id="resp_1",
            custom_inputs={"thread_id": "t"},
        )
    )

    assert (request.stream, request.background) == (True, True)
    assert request.metadata == {"k": "v"}
    assert request.previous_response_id == "resp_1"
    assert request.conversation_id == "t"


@pytest.mark.parametrize("empty", [[], ""])
def test_an_empty_input_is_allowed(empty: Any) -> None:
    assert parse_request(body_of(input=empty)).data["input"] == empty


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"input":NaN}',
        b'{"input":Infinity}',
        b'{"input":"hi","n":1e400}',
        b'{"input":"\\ud800"}',
        b'{"input":"hi",}',
        b'\xef\xbb\xbf{"input":"hi"}',
        b'{"input":"a\0b"}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    refused = refusal_of(body)

    assert refused.code == "invalid_json"
    assert "not valid JSON" in str(refused)
    assert len(str(refused)) < 300


@pytest.mark.parametrize("body", [b"[]", b'"hi"', b"null", b"7"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert "must be a JSON object" in str(refusal_of(body))


@pytest.mark.parametrize("body", [b"{}", b'{"input":null}', b'{"model":"m"}'])
def test_a_missing_input_is_refused(body: bytes) -> None:
    refused = refusal_of(body)

    assert (refused.param, refused.code) == ("input", "missing_required_parameter")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"input": 5}, "input", "a string or a list, but got a number"),
        ({"input": {"role": "user"}}, "input", "but got an object"),
        ({"input": True}, "input", "but got a boolean"),
        ({"input": [{}, "x"]}, "input[1]", "an object, but got a string"),
        ({"input": [None]}, "input[0]", "an object, but got null"),
        ({"stream": "true"}, "stream", "a boolean, but got a string"),
        ({"background": 1}, "background", "a boolean, but got a number"),
        ({"store": {}}, "store", "a boolean, but got an object"),
        ({"metadata": ["a"]}, "metadata", "an object, but got a list"),
        ({"previous_response_id": 5}, "previous_response_id", "a string, but got a number"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id", "a string, but got null"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(
    fields: dict[str, Any], param: str, message: str
) -> None:
    refused = refusal_of(body_of(**fields))

    assert (refused.param, refused.code) == (param, "invalid_type")
    assert message in str(refused)


def test_a_background_response_has_to_be_stored() -> None:
    assert refusal_of(body_of(background=True, store=False)).param == "store"
    assert parse_request(body_of(store=False)).store is False


def test_nesting_up_to_the_limit_is_allowed_and_one_more_is_not() -> None:
    def nested(levels: int) -> bytes:
        inside = levels - 1  # the request itself is the first level
        return b'{"input":"hi","x":' + b"[" * inside + b"]" * inside + b"}"

    assert parse_request(nested(MAX_DEPTH)).data["input"] == "hi"
    assert "nested more than 64" in str(refusal_of(nested(MAX_DEPTH + 1)))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse_request(body_of(x=[[]] * 1_000)).data["x"]) == 1_000


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 9007199254740993])
def test_integers_of_64_bits_are_kept_exactly(number: int) -> None:
    request = parse_request(b'{"input":"hi","x":%d}' % number)

    assert request.data["x"] == number
    assert b'"x":%d}' % number in request.body


@pytest.mark.parametrize("digits", [str(2**64), str(-(2**63) - 1), "1" * 30, "1" * 300])
def test_larger_integers_are_refused_rather_than_rounded(digits: str) -> None:
    refused = refusal_of(b'{"input":"hi","x":[%b]}' % digits.encode())

    assert "does not fit 64 bits" in str(refused)
    assert len(str(refused)) < 200


def test_long_digits_in_a_string_or_behind_a_point_are_no_integers() -> None:
    request = parse_request(b'{"input":"12345678901234567890123","x":0.12345678901234567890123}')

    assert request.data["input"] == "12345678901234567890123"
    assert 0.1 < request.data["x"] < 0.2


def test_a_nul_is_kept_in_the_body_and_replaced_where_jsonb_would_refuse_it() -> None:
    request = parse_request(
        b'{"input":"a\\u0000b","metadata":{"k\\u0000":["v\\u0000",{"w":"\\u0000"}]}}'
    )

    assert request.data["input"] == "a\0b"
    assert b"a\\u0000b" in request.body
    assert request.metadata == {"k\ufffd": ["v\ufffd", {"w": "\ufffd"}]}
    fields = orjson.loads(response_fields(request, model_default="agent"))
    assert fields["metadata"] == {"k\0": ["v\0", {"w": "\0"}]}


@pytest.mark.parametrize("hostile", ["a\0b", "x" * 1_000_000, "\N{SNOWMAN}" * 400])
@pytest.mark.parametrize(
    ("place", "param"),
    [
        ({"context": {"conversation_id": ...}}, "conversation"),
        ({"custom_inputs": {"thread_id": ...}}, "conversation"),
        ({"previous_response_id": ...}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": ...}]}, "input[0].id"),
    ],
)
def test_ids_that_the_database_cannot_hold_are_refused(
    place: dict[str, Any], param: str, hostile: str
) -> None:
    refused = refusal_of(body_of(**_filled(place, hostile)))

    assert (refused.param, refused.code) == (param, "invalid_id")
    assert len(str(refused)) < 200


def _filled(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, text) for item in value]
    return text if value is ... else value


def test_item_references_are_found_with_and_without_their_type() -> None:
    request = parse_request(
        body_of(
            input=[
                {"type": "item_reference", "id": "msg_1"},
                {"role": "user", "content": "hi", "id": "msg_2"},
                {"id": "msg_3"},
                {"type": None, "id": "msg_4"},
                {"type": "message", "id": "msg_5"},
            ]
        )
    )

    assert request.item_references == ["msg_1", "msg_3", "msg_4"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    try:
        request = parse_request(body)
    except InvalidRequest as refused:
        assert str(refused)
    else:
        assert orjson.loads(request.body) == request.data
