"""sql/14_request.sql: what a person gets wrong in a request, in the words that POST has for it."""

from __future__ import annotations

import orjson
import psycopg
import pytest

from pgdurable.database import queries
from tests.support.engine import Conn, append, claim, done, value


async def refusal(db: Conn, request: str, principal: str = "") -> psycopg.errors.Diagnostic:
    """Why it is refused; nothing is left of it."""
    before = await value(db, "select count(*) from pgdurable.responses")
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        await value(
            db, "select pgdurable.enqueue_response(%s, p_principal => %s)", request, principal
        )
    assert await value(db, "select count(*) from pgdurable.responses") == before
    return refused.value.diag


WRONG = {
    "null": "The request body must be a JSON object.",
    "[]": "The request body must be a JSON object.",
    '"hi"': "The request body must be a JSON object.",
    "{}": "Missing required parameter: 'input'.",
    '{"input":null}': "Missing required parameter: 'input'.",
    '{"input":7}': "Invalid type for 'input': expected a string or a list, but got a number.",
    '{"input":["x"]}': "Invalid type for 'input[0]': expected an object, but got a string.",
    '{"input":[{},[]]}': "Invalid type for 'input[1]': expected an object, but got a list.",
    '{"input":"q","stream":"yes"}': (
        "Invalid type for 'stream': expected a boolean, but got a string."
    ),
    '{"input":"q","background":1}': (
        "Invalid type for 'background': expected a boolean, but got a number."
    ),
    '{"input":"q","metadata":[]}': (
        "Invalid type for 'metadata': expected an object, but got a list."
    ),
    '{"input":"q","previous_response_id":5}': (
        "Invalid type for 'previous_response_id': expected a string, but got a number."
    ),
    '{"input":[{"type":"item_reference"}]}': (
        "Invalid type for 'input[0].id': expected a string, but got null."
    ),
    '{"input":"q","store":false}': (
        "A background response has to be stored: 'store' must not be false."
    ),
    '{"input":"q","previous_response_id":"resp_x"}': (
        "Previous response with id 'resp_x' not found."
    ),
    '{"input":[{"id":"msg_x"}]}': "Item with id 'msg_x' not found.",
    '{"input":"q","n":[18446744073709551616]}': (
        "The number 18446744073709551616 in the request body does not fit 64 bits;"
        " send it as a string."
    ),
    '{"input":"q","n":-1e999}': (
        "The number -1e999 in the request body does not fit 64 bits; send it as a string."
    ),
}


@pytest.mark.parametrize("request_", WRONG)
async def test_it_is_refused_with_what_is_wrong_and_an_example(db: Conn, request_: str) -> None:
    diag = await refusal(db, request_)
    assert diag.message_primary == WRONG[request_]
    assert orjson.loads((diag.message_hint or "").partition("For example: ")[2])["input"]


@pytest.mark.parametrize(
    "request_",
    [
        '{"input":[{"type":"item_reference","id":"%s"}]}',
        '{"input":"q","previous_response_id":"%s"}',
        '{"input":"q","custom_inputs":{"session_id":"%s"}}',
    ],
)
async def test_an_id_may_have_1024_bytes(db: Conn, request_: str) -> None:
    assert "1024 bytes" in str((await refusal(db, request_ % ("ä" * 513))).message_primary)
    try:
        await value(db, "select pgdurable.enqueue_response(%s)", request_ % ("ä" * 512))
    except psycopg.errors.InvalidParameterValue as refused:
        assert "not found" in str(refused)  # but not for its length


async def test_nesting_up_to_64_levels_is_allowed(db: Conn) -> None:
    def nested(levels: int) -> str:
        return '{"input":"q","n":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    await value(db, "select pgdurable.enqueue_response(%s)", nested(64))
    assert "64 levels" in str((await refusal(db, nested(65))).message_primary)


@pytest.mark.parametrize(
    "number", ["18446744073709551615", "-9223372036854775808", "1e30", "1.7e308", '"1e999"']
)
async def test_a_number_that_python_can_hold_is_taken(db: Conn, number: str) -> None:
    await value(db, "select pgdurable.enqueue_response(%s)", f'{{"input":"q","n":{number}}}')


async def test_what_it_points_to_may_be_there_for_somebody_else_only(db: Conn) -> None:
    first = await queries.enqueue_response(db, {"input": "hi"}, principal="p")
    (held,) = await claim(db)
    await append(db, held, done("msg_1"))
    body = f'{{"previous_response_id":"{first}","input":[{{"id":"msg_1"}}]}}'
    assert await value(db, "select pgdurable.enqueue_response(%s, p_principal => 'p')", body)
    told = (await refusal(db, body, "q")).message_primary
    assert told == f"Previous response with id '{first}' not found."
