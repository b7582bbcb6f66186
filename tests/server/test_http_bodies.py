"""POST: what is accepted and passed on, and what is refused; refused ones leave nothing behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from pgdurable import AgentRequest, Context
from tests.support.inside import Inside, inside, text_of

MAX_BYTES = 64 * 1024
PATHS = ("/responses", "/v1/responses", "/invocations")
HI = '{"input":"hi",'


async def told(request: AgentRequest, context: Context) -> AsyncIterator[str]:
    """What the handler was sent, as JSON."""
    yield json.dumps(request.model_dump(), sort_keys=True)


@pytest.fixture
async def http(dsn: str) -> AsyncIterator[Inside]:
    async with inside(dsn, told, max_request_bytes=MAX_BYTES) as http:
        yield http


async def refused(http: Inside, body: Any, *, path: str = "/responses", **options: Any) -> Any:
    """The error of a POST that is refused with 4xx, in the one shape."""
    async with http.session.post(f"{http.url}{path}", data=body, **options) as answer:
        assert answer.content_type == "application/json"
        assert answer.headers["x-request-id"]
        error: dict[str, Any] = (await answer.json())["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["message"]
    return answer.status, error


async def nothing_is_left(http: Inside, conn: psycopg.AsyncConnection[Any]) -> bool:
    """No response was made, and the process still answers."""
    rows = await (await conn.execute("select count(*) from pgdurable.responses")).fetchone()
    async with http.session.get(f"{http.url}/health") as answer:
        assert await answer.json() == {"status": "healthy"}
    return rows == (0,)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ("", None, "invalid_json"),
        ("rubbish", None, "invalid_json"),
        ('{"input":"hi"', None, "invalid_json"),
        (b'{"input":"\xff"}', None, "invalid_json"),
        ('{"input":NaN}', None, "invalid_json"),
        ('[{"input":"hi"}]', None, "invalid_json"),
        ('"hi"', None, "invalid_json"),
        ("null", None, "invalid_json"),
        ("{}", "input", "missing_required_parameter"),
        ('{"input":null}', "input", "missing_required_parameter"),
        ('{"input":3}', "input", "invalid_type"),
        ('{"input":{"role":"user"}}', "input", "invalid_type"),
        ('{"input":[{},"x"]}', "input[1]", "invalid_type"),
        ('{"input":[[]]}', "input[0]", "invalid_type"),
        (HI + '"stream":"true"}', "stream", "invalid_type"),
        (HI + '"background":1}', "background", "invalid_type"),
        (HI + '"store":"no"}', "store", "invalid_type"),
        (HI + '"metadata":[]}', "metadata", "invalid_type"),
        (HI + '"background":true,"store":false}', "store", None),
        (HI + '"previous_response_id":7}', "previous_response_id", "invalid_type"),
        (HI + '"previous_response_id":"a\\u0000"}', "previous_response_id", "invalid_id"),
        (HI + f'"conversation":"{"c" * 2000}"}}', "conversation", "invalid_id"),
        (HI + '"context":{"conversation_id":"a\\u0000b"}}', "conversation", "invalid_id"),
        ('{"input":[{"type":"item_reference"}]}', "input[0].id", "invalid_type"),
        ('{"input":[{"type":"item_reference","id":"msg_no"}]}', "input", None),
        (HI + f'"x":{"[" * 20_000}{"]" * 20_000}}}', None, "invalid_json"),
        (HI + f'"x":{"[" * 100}{"]" * 100}}}', None, "invalid_json"),
        (HI + f'"x":{"9" * 400}}}', None, "invalid_json"),
        (HI + '"x":18446744073709551616}', None, "invalid_json"),
    ],
)
async def test_a_body_that_is_wrong_is_refused(
    http: Inside,
    conn: psycopg.AsyncConnection[Any],
    body: str | bytes,
    param: str | None,
    code: str | None,
) -> None:
    for path in PATHS:
        status, error = await refused(http, body, path=path)
        assert status == 400
        assert error["param"] == param
        assert code is None or error["code"] == code
    assert await nothing_is_left(http, conn)


async def test_an_unknown_previous_response_is_named(
    http: Inside, conn: psycopg.AsyncConnection[Any]
) -> None:
    unknown = "resp_" + "0" * 32
    for background in ("true", "false"):
        body = f'{HI}"previous_response_id":"{unknown}","background":{background}}}'
        status, error = await refused(http, body)
        assert (status, error["code"]) == (400, "previous_response_not_found")
        assert unknown in error["message"]
    assert await nothing_is_left(http, conn)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(
    http: Inside, conn: psycopg.AsyncConnection[Any], chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 4096

    status, _ = await refused(http, pieces() if chunked else b" " * (MAX_BYTES + 1))
    assert status == 413
    assert await nothing_is_left(http, conn)


async def test_a_body_without_a_length_is_read(http: Inside) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"in', b'put":', b'"hi"}'):
            yield piece

    async with http.session.post(f"{http.url}/responses", data=pieces()) as answer:
        assert (await answer.json())["status"] == "completed"


async def sent(http: Inside, body: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """The response object, and what the handler saw."""
    options = {"json": body, **options}
    async with http.session.post(f"{http.url}/responses", **options) as answer:
        assert answer.status == 200, await answer.text()
        response = await answer.json()
    return response, json.loads(text_of(response))


@pytest.mark.parametrize(
    "field",
    [
        {"unknown": {"deep": [1, None, 1e300, "\u0000"]}},
        {"stream": None, "background": None, "store": None, "metadata": None},
        {"access_programs": ["x"], "service_tier": "auto", "include": ["a.b"]},
        {"databricks_options": {"return_trace": True}, "custom_inputs": {"a": [1]}},
        {"model": None, "tools": "rubbish", "temperature": "hot", "text": 7},
        {"previous_response_id": None, "conversation": None, "context": None},
        {"previous_response_id": ""},
        {"user": "\U0001f600\ud7ff", "x": 2**64 - 1, "y": -(2**63)},
    ],
)
async def test_fields_that_we_need_not_understand_are_passed_on(
    http: Inside, field: dict[str, Any]
) -> None:
    _, seen = await sent(http, {"input": "hi", **field})
    for name, value in field.items():
        if name not in ("metadata", "custom_inputs") or value is not None:
            assert seen[name] == value


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"type": "mcp_call", "id": "mcp_1", "name": "f"},
        {"type": "custom_tool_call", "anything": {"goes": True}},
        {"type": "reasoning", "summary": []},
        {"no type": 1},
        {},
    ],
)
async def test_input_items_of_any_type_are_passed_on(http: Inside, item: dict[str, Any]) -> None:
    _, seen = await sent(http, {"input": [item]})
    (passed,) = seen["input"]
    assert item.items() <= passed.items()


async def test_a_string_is_one_user_message_and_an_empty_list_is_no_message(http: Inside) -> None:
    _, seen = await sent(http, {"input": "hi"})
    assert seen["input"] == [{"type": "message", "role": "user", "content": "hi"}]
    _, seen = await sent(http, {"input": []})
    assert seen["input"] == []


async def test_the_request_is_echoed_and_what_is_missing_has_its_default(http: Inside) -> None:
    asked = {
        "model": "m",
        "instructions": "Be brief.",
        "metadata": {"k": "v"},
        "temperature": 0.5,
        "top_p": 1,
        "max_output_tokens": 100,
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        "truncation": "auto",
        "user": "u",
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "conversation": "conv-1",
    }
    response, _ = await sent(http, {"input": "hi", **asked})
    asked["conversation"] = {"id": "conv-1"}
    assert {name: response[name] for name in asked} == asked
    response, _ = await sent(http, {"input": "hi"})
    assert response["model"] == "agent" and response["tools"] == []
    assert response["tool_choice"] == "auto" and response["parallel_tool_calls"] is True
    assert (response["background"], response["store"], response["metadata"]) == (False, True, {})


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "a/b; c=d"])
async def test_the_content_type_is_not_looked_at(http: Inside, content_type: str) -> None:
    headers = {"content-type": content_type, "accept": "text/csv"}
    response, _ = await sent(http, {}, data=b'{"input":"hi"}', json=None, headers=headers)
    assert response["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "status"), [(b"no gzip", 400), (gzip.compress(b" " * 20_000_000), 413)]
)
async def test_an_encoding_that_lies_is_refused(
    http: Inside, conn: psycopg.AsyncConnection[Any], body: bytes, status: int
) -> None:
    assert (await refused(http, body, headers={"Content-Encoding": "gzip"}))[0] == status
    assert await nothing_is_left(http, conn)
