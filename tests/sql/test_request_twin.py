"""The same body by POST and by psql: the same response and request, or the same refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import openai
import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from pgdurable import Context
from pgdurable.database import connections, queries
from pgdurable.errors import InvalidRequest
from pgdurable.models import ClaimedResponse
from pgdurable.requests import chain, parse_request, response_fields
from pgdurable.requests.fields import CONVERSATION_PATHS, FIELDS
from pgdurable.server.objects import response_of_snapshot
from tests.support.engine import Conn, claim, enqueue_all, new_response, state, value
from tests.support.inside import inside

Json = Any


class Taken(NamedTuple):
    """What became of a request; nothing that differs between any two responses."""

    response: dict[str, Json]
    conversation_id: str | None
    metadata: Json
    handler_request: dict[str, Json]


async def taken(db: Conn, response_id: str) -> Taken:
    (held,) = await claim(db)
    assert held.response_id == response_id
    snapshot = await queries.get_response(db, response_id=response_id, principal="")
    response = response_of_snapshot(snapshot)
    assert response.keys() == response_in(held).keys()
    return Taken(
        {k: v for k, v in response.items() if k not in ("id", "created_at")},
        (await state(db, response_id))["conversation_id"],
        await value(
            db, "select q.metadata from pgdurable.requests as q where response_id = %s", response_id
        ),
        {k: v for k, v in orjson.loads(held.request or b"").items() if k != "background"},
    )


def response_in(held: ClaimedResponse) -> dict[str, Json]:
    response: dict[str, Json] = orjson.loads(held.event or b"")["response"]
    return response


async def by_post(db: Conn, body: str) -> Taken | str:
    """As server/create.py does it."""
    try:
        sent = parse_request(body.encode())
        await chain.check(
            db,
            previous_response_id=sent.previous_response_id,
            item_ids=sent.item_references,
            principal="",
        )
    except InvalidRequest as refused:
        return str(refused)
    new = await new_response(
        db,
        conversation=sent.conversation_id,
        previous=sent.previous_response_id,
        background=sent.background,
        store=sent.store,
        metadata=orjson.dumps(sent.metadata),
        request=sent.body,
        fields=response_fields(sent, model_default="agent"),
    )
    await enqueue_all(db, [new])
    return await taken(db, new.response_id)


async def by_psql(db: Conn, body: str) -> Taken | str:
    try:
        response_id = await value(db, "select pgdurable.enqueue_response(%s)", body)
    except psycopg.errors.InvalidParameterValue as refused:
        return str(refused.diag.message_primary)
    return await taken(db, response_id)


def in_the_background(body: dict[str, Json]) -> dict[str, Json]:
    """What POST has to be told to do as psql does; a wrong type stays, to be refused."""
    asks = body.get("background")
    return {**body, "background": True} if asks is None or isinstance(asks, bool) else body


BODIES: list[dict[str, Json]] = [
    {},
    {"conversation": "c9"},
    {"conversation": {"id": "c9"}},
    {"conversation": {"id": "", "x": 1}},
    {"conversation": ""},
    {"conversation": 7},
    {"custom_inputs": {"thread_id": 5}},
    {"custom_inputs": {"thread_id": 5, "session_id": "s"}, "conversation": "c"},
    {"custom_inputs": {"thread_id": ""}, "context": {"conversation_id": "c"}, "conversation": "v"},
    {"custom_inputs": ["thread_id"], "context": "conversation_id", "conversation": ["id"]},
    {"custom_inputs": {"thread_id": "x" * 1025}},
    {"temperature": "hot", "top_p": True, "top_logprobs": False, "max_output_tokens": 1.5},
    {"temperature": 1, "top_p": 0.25, "top_logprobs": 5, "max_output_tokens": 7.0},
    {"max_tool_calls": 1e30, "max_output_tokens": 2**64 - 1},
    {"max_tool_calls": 2**64, "x": [-(2**63) - 1]},
    {"metadata": None, "tools": None, "text": None, "model": None, "store": None, "stream": None},
    {"metadata": {"k": {"nested": [1, None]}}},
    {"metadata": "m"},
    {"tools": {"type": "function"}, "tool_choice": []},
    {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function"}},
    {"text": {"format": {"type": "json_object"}}},
    {"text": {"verbosity": "low"}},
    {"text": "plain", "reasoning": "much", "prompt": 5, "instructions": {"be": "brief"}},
    {"model": ""},
    {"model": 5, "user": 5, "service_tier": [], "truncation": 0},
    {"stream": "yes"},
    {"stream": True, "background": False},
    {"background": "no"},
    {"store": 0},
    {"store": False},
    {"previous_response_id": ""},
    {"previous_response_id": "resp_unknown"},
    {"previous_response_id": {"id": "resp_unknown"}},
    {"input": None},
    {"input": 7},
    {"input": {"role": "user"}},
    {"input": ["x"]},
    {"input": [{}, None]},
    {"input": []},
    {"input": [{"type": "item_reference", "id": "msg_unknown"}]},
    {"input": [{"id": "msg_unknown", "type": None}, {"id": 5}]},
    {"input": [{"role": "user", "content": "q", "id": "msg_1"}]},
    {"unheard_of": {"é": ["\U0001f600", 1e-7, -0.0]}, "input": '"quoted"\n\t\\'},
    {"x": json.loads("[" * 63 + "]" * 63)},
    {"x": json.loads("[" * 64 + "]" * 64)},
]


async def both(db: Conn, body: dict[str, Json]) -> tuple[Taken | str, Taken | str]:
    posted = await by_post(db, json.dumps(in_the_background(body)))
    return posted, await by_psql(db, json.dumps(body))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: json.dumps(body)[:60])
async def test_a_body_is_the_same_by_post_and_by_psql(db: Conn, body: dict[str, Json]) -> None:
    posted, enqueued = await both(db, {"input": "q", **body})
    assert enqueued == posted


async def test_of_equal_keys_the_last_one_counts(db: Conn) -> None:
    body = '{"input":7,"input":"q","background":true,"temperature":2,"temperature":"hot"}'
    posted = await by_post(db, body)
    assert isinstance(posted, Taken) and posted.handler_request["input"] == "q"
    assert await by_psql(db, body) == posted


# jsonb holds no U+0000: psql refuses that, and POST does not.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
items = st.dictionaries(st.sampled_from(["type", "id", "role", "content"]), values | texts)
ITEM_TYPES = st.sampled_from(["item_reference", "message", None])
USUAL = {
    "boolean": st.booleans(),
    "string": texts,
    "integer": st.integers(0, 10),
    "number": st.floats(0, 2),
    "array": st.lists(st.fixed_dictionaries({}, optional={"type": ITEM_TYPES, "id": texts})),
    "object": st.dictionaries(st.sampled_from(["id", "format", "k"]), values),
}
NAMED = {path[0]: st.dictionaries(st.sampled_from(["id", *path[1:]]), values | texts)
         for path in CONVERSATION_PATHS}  # fmt: skip
fields = {
    **{field.name: st.one_of(*[USUAL[name] for name in field.types], values) for field in FIELDS},
    **{name: named | values for name, named in NAMED.items()},
    "unheard_of": values,
}
given_input = fields.pop("input") | st.lists(items, max_size=3)
bodies = st.fixed_dictionaries({"input": given_input}, optional=fields)


def rounded(value: Json) -> Json:
    """JSON has one kind of number, and jsonb writes 1e17 as an integer."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list() | tuple():
            return [rounded(one) for one in value]
        case dict():
            return {key: rounded(one) for key, one in value.items()}
    return value


@given(body=bodies)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_body_is_the_same_by_post_and_by_psql(dsn: str, body: dict[str, Json]) -> None:
    async def run() -> None:
        async with await connections.connect(dsn, name="test") as db:
            posted, enqueued = await both(db, body)
            assert rounded(enqueued) == rounded(posted)

    asyncio.run(run())


async def test_clients_and_handlers_see_no_difference(dsn: str, db: Conn) -> None:
    """Through HTTP, with openai-python; whatever the door, a response is in the background."""
    seen: dict[str, Json] = {}

    async def remembers(request: dict[str, Json], context: Context) -> AsyncIterator[str]:
        seen[context.response_id] = dict(request) | {"conversation_id": context.conversation_id}
        yield "done"

    body = {"input": "q", "conversation": "c9", "temperature": "hot", "stream": True, "x": [1.5]}
    async with inside(dsn, remembers) as server:
        sdk = openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0)
        async with sdk as client:
            made = await client.post(
                "/responses", body={**body, "stream": False, "background": True}, cast_to=Response
            )
            ids = [made.id, await queries.enqueue_response(db, body)]
            for response_id in ids:
                await server.finished(response_id)
            posted, enqueued = [await client.responses.retrieve(one) for one in ids]
    assert enqueued.conversation is not None and enqueued.conversation.id == "c9"
    ours = {"id", "created_at", "output"}
    assert enqueued.model_dump(exclude=ours) == posted.model_dump(exclude=ours)
    assert (enqueued.background, enqueued.output_text) == (True, "done")
    posted_request, request = (seen[one] for one in ids)
    assert (posted_request.pop("stream"), request.pop("stream")) == (False, True)
    assert posted_request.pop("background") is True
    assert request == posted_request and request["conversation_id"] == "c9"


async def test_http_refuses_in_the_same_words(dsn: str, db: Conn) -> None:
    async with inside(dsn, worker=False) as server:
        for body in (
            {"input": 7},
            {"input": "q", "metadata": 5},
            {"background": True, "store": False},
        ):
            body = {"input": "q", **body}
            async with server.session.post(f"{server.url}/responses", json=body) as answer:
                assert answer.status == 400
                error = (await answer.json())["error"]
            assert await by_psql(db, json.dumps(body)) == error["message"]
