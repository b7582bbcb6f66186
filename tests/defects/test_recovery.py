"""Defects of the seed in what a resumed attempt gets and gives: 3, 6, 7, 10, 14, 15."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest

from pgdurable.agent import get_request_headers
from pgdurable.models import ClaimedResponse, NewEvent
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import Conn
from tests.support.inside import inside, text_of
from tests.support.waiting import wait_until


async def abandoned(
    conn: Conn, clock: Clock, *attempts: list[NewEvent], **columns: Any
) -> ClaimedResponse:
    """A response whose workers died one after the other, each after having said so much."""
    held = await engine.start(conn, "dead", **columns)
    for number, events in enumerate(attempts):
        if number:
            (held,) = await engine.take_over(conn, "dead too")
        await engine.append(conn, held, *events)
        clock.advance(engine.PAST_LEASE)
    return held


async def test_defect_03_the_output_is_the_final_attempts_alone(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    item: dict[str, Any] = {
        "type": "function_call",
        "call_id": "c1",
        "name": "pay",
        "arguments": "{}",
    }

    async def again(request: Any) -> AsyncIterator[Any]:
        yield {"type": "response.output_item.done", "item": item}

    held = await abandoned(conn, clock, [engine.added("fc_1", **item), engine.done("fc_1", **item)])
    async with inside(dsn, again) as server:
        response = await server.finished(held.response_id)

    assert [output["type"] for output in response["output"]] == ["function_call"]
    assert response["output"][0]["id"] != "fc_1"


async def test_defect_06_a_third_attempt_knows_of_the_first(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    async def tells(request: Any) -> AsyncIterator[str]:
        yield str(request.input[-1].content)

    def said(name: str, index: int) -> list[NewEvent]:
        content = [{"type": "output_text", "text": f"{name} attempt"}]
        return [engine.added(name, index), engine.done(name, index, content=content)]

    held = await abandoned(conn, clock, said("msg_first", 0), said("msg_second", 1))
    async with inside(dsn, tells) as server:
        told = text_of(await server.finished(held.response_id))

    assert told.startswith("[RECOVERY]")
    assert "msg_first attempt" in told and "msg_second attempt" in told


@pytest.mark.parametrize("in_place", [False, True])
async def test_what_on_recovery_makes_of_the_request_is_what_the_next_attempt_gets(
    dsn: str, conn: Conn, clock: Clock, in_place: bool
) -> None:
    async def recover(request: Any, context: Any) -> Any:
        told = [
            (event["sequence_number"], event["attempt_number"], event["type"])
            for event in await context.previous_events()
        ]
        said = f"{request.input[0].content} in {request.context.conversation_id}: {told}"
        if in_place:
            request["input"] = said
            return None
        return {"input": said}

    async def repeats(request: Any) -> AsyncIterator[str]:
        yield str(request.input[-1].content)

    held = await abandoned(conn, clock, [engine.delta()], conversation="c")
    async with inside(dsn, repeats, recovery=recover) as server:
        told = text_of(await server.finished(held.response_id))

    first = [(1, 1, "response.in_progress"), (2, 1, "response.output_text.delta")]
    assert told == f"hi in c::r-{held.response_id[-8:]}-2: {first}"


@pytest.mark.parametrize(
    ("anchor", "seen"),
    [
        ({"custom_inputs": {"thread_id": "c"}}, lambda request: request.custom_inputs["thread_id"]),
        (
            {"custom_inputs": {"session_id": "c"}},
            lambda request: request.custom_inputs["session_id"],
        ),
        ({"context": {"conversation_id": "c"}}, lambda request: request.context.conversation_id),
        ({"conversation": "c"}, lambda request: request.conversation),
        ({"conversation": {"id": "c"}}, lambda request: request.conversation["id"]),
    ],
)
async def test_the_turn_after_a_crashed_one_finds_the_session_that_the_successor_left(
    dsn: str, conn: Conn, clock: Clock, anchor: dict[str, Any], seen: Callable[[Any], str]
) -> None:
    """The seed resolved one way of naming it; a handler that reads another began anew."""

    async def where(request: Any, context: Any) -> AsyncIterator[str]:
        assert context.conversation_id == request.context.conversation_id
        yield seen(request)

    asked = orjson.dumps({"input": "one", **anchor})
    held = await abandoned(conn, clock, [engine.delta()], conversation="c", request=asked)
    async with inside(dsn, where) as server:
        successor = text_of(await server.finished(held.response_id))
        next_turn = text_of(await server.finished(await server.post("two", **anchor)))

    assert successor.startswith("c::r-") and successor.endswith("-2")
    assert next_turn == successor


async def test_defect_07_the_recovery_message_has_a_limit(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    async def tells(request: Any) -> AsyncIterator[str]:
        yield str(request.input[-1].content)

    text = [{"type": "output_text", "text": "x" * 1000}]
    events = [
        event
        for number in range(50)
        for event in (
            engine.added(f"msg_{number}", number),
            engine.done(f"msg_{number}", number, content=text),
        )
    ]
    held = await abandoned(conn, clock, events)
    async with inside(dsn, tells, recovery_max_bytes=8192) as server:
        told = text_of(await server.finished(held.response_id))

    assert told.startswith("[RECOVERY]")
    assert len(told.encode()) <= 8192
    assert "truncated" in told


async def test_defect_10_a_handler_sees_the_headers_of_its_own_request_in_every_attempt_here(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    """Neither a later attempt without any, nor those of whoever happened to ask."""
    seen = []

    async def who(request: Any, context: Any) -> AsyncIterator[str]:
        seen.append((context.attempt, get_request_headers().get("x-forwarded-access-token")))
        yield "word"
        if context.attempt == 1:
            await asyncio.Event().wait()

    beats: dict[str, Any] = {
        "heartbeat_interval_seconds": 20,
        "heartbeat_stale_threshold_seconds": 30,
    }
    async with inside(dsn, who, **beats) as server:
        headers = {"X-Forwarded-Access-Token": "alice"}
        url = f"{server.url}/responses"
        body = {"input": "hi", "background": True}
        async with server.session.post(url, json=body, headers=headers) as answer:
            response_id = (await answer.json())["id"]
        headers = {"X-Forwarded-Access-Token": "mallory"}
        async with server.session.get(f"{url}/{response_id}", headers=headers) as answer:
            assert answer.status == 200

        async def has_begun() -> Any:
            return (await engine.state(conn, response_id))["last_seq"] > 3

        await wait_until(has_begun)
        clock.advance(timedelta(minutes=1))  # as if this process had stood still
        assert len(await engine.take_over(conn, "another, which dies")) == 1
        clock.advance(timedelta(minutes=1))
        assert (await server.finished(response_id))["status"] == "completed"

    assert seen == [(1, "alice"), (3, "alice")]


async def test_defect_14_an_invoke_mode_response_is_resumed_by_its_invoke_handler(
    dsn: str, conn: Conn, clock: Clock
) -> None:
    async def invoked(request: Any) -> str:
        return "invoked"

    async def streamed(request: Any) -> AsyncIterator[str]:
        yield "streamed"

    held = await abandoned(conn, clock, [engine.delta()], request=b'{"input":"hi","stream":false}')
    async with inside(dsn, streamed, invoke=invoked) as server:
        both = await server.finished(held.response_id)
    other = await abandoned(conn, clock, [engine.delta()])
    async with inside(dsn, invoke=invoked) as server:
        alone = await server.finished(other.response_id)

    assert (text_of(both), text_of(alone)) == ("invoked", "invoked")


async def test_defect_15_what_a_background_handler_says_about_its_response_is_kept(
    dsn: str,
) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}

    async def invoked(request: Any) -> dict[str, Any]:
        return {
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
            "custom_outputs": {"confidence": 0.9},
            "usage": usage,
            "metadata": {"trace": "t1"},
        }

    async with inside(dsn, invoke=invoked) as server:
        response_id = await server.post()
        await server.finished(response_id)
        response = await server.get(response_id)

    assert response["custom_outputs"] == {"confidence": 0.9}
    assert json.dumps(usage)[1:-1] in json.dumps(response["usage"])
    assert response["metadata"] == {"trace": "t1"}
