"""openai-python's own accumulator, unmodified, reads what the envelope makes; no network."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from pgdurable.errors import InvalidEvent
from tests.envelope.log import RESPONSE_ID, Log
from tests.envelope.yields import yields

# openai 3 has an httpx of its own under another name.
httpx = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


@contextmanager
def served(events: list[dict[str, Any]]) -> Iterator[openai.OpenAI]:
    """A client whose every request is answered with the events as an SSE stream."""
    frames = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    body = b"".join(frames) + b"data: [DONE]\n\n"

    def answer(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    transport = httpx.MockTransport(answer)
    http_client = openai.DefaultHttpxClient(transport=transport)
    with openai.OpenAI(api_key="-", base_url="http://test", http_client=http_client) as client:
        yield client


def accumulated(log: Log) -> Response:
    """The final response as the `.stream()` helper puts it together."""
    with (
        served(log.events) as client,
        client.responses.stream(model="agent", input="hi") as stream,
    ):
        seen = [event.type for event in stream]
        assert seen == [event["type"] for event in log.events]
        return stream.get_final_response()


def test_words_are_accumulated_as_they_come() -> None:
    log = Log()
    log.feed("Hello, ", "world", "!")
    log.complete()
    with (
        served(log.events) as client,
        client.responses.stream(model="agent", input="hi") as stream,
    ):
        snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert snapshots == ["Hello, ", "Hello, world", "Hello, world!"]
    assert final.id == RESPONSE_ID and final.status == "completed"
    assert final.output_text == "Hello, world!"


def test_a_takeover_in_mid_message_and_mid_call_keeps_the_accumulator_alive() -> None:
    log = Log()
    log.feed("Half a ")
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
    log.feed({"type": "response.output_item.added", "output_index": 1, "item": call})
    log.feed({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a'})
    log.start()
    log.feed({"type": "response.output_item.done", "item": {**call, "arguments": "{}"}})
    output = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    log.feed({"type": "response.output_item.done", "item": output}, "Whole.")
    log.complete()

    final = accumulated(log)
    assert final.output_text == "Whole."
    assert [item.type for item in final.output] == [
        "function_call",
        "function_call_output",
        "message",
    ]
    call_ids = [getattr(item, "call_id", None) for item in final.output[:2]]
    assert call_ids[0] == call_ids[1] != "call_1"


def test_the_same_inner_stream_relayed_twice_is_two_sets_of_items() -> None:
    inner = Log()
    inner.feed("Once.")
    inner.complete()
    log = Log()
    log.feed(*inner.events, *inner.events)
    log.complete()

    final = accumulated(log)
    assert final.output_text == "Once.Once."
    assert len({item.id for item in final.output}) == 2


@pytest.mark.parametrize("how", ["cancel", "fail"])
def test_a_stream_that_does_not_complete_is_read_to_its_end(how: str) -> None:
    log = Log()
    log.feed("So far")
    cancelled = how == "cancel"
    log.end(log.envelope.cancel() if cancelled else log.envelope.fail("server_error", "broke"))
    with (
        served(log.events) as client,
        client.responses.stream(model="agent", input="hi") as stream,
    ):
        last = list(stream)[-1]

    assert last.type == ("response.incomplete" if cancelled else "response.failed")
    assert last.response.status == ("cancelled" if cancelled else "failed")
    assert last.response.output_text == "So far"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(st.lists(st.lists(yields, max_size=10), min_size=1, max_size=3))
def test_any_yields_with_takeovers_keep_the_accumulator_alive(
    sequences: list[list[object]],
) -> None:
    log = Log()
    for number, sequence in enumerate(sequences):
        if number:
            log.start()
        for one in sequence:
            try:
                log.feed(one)
            except InvalidEvent:
                continue
    response = log.complete()
    if response["status"] != "completed":
        return

    final = accumulated(log)
    assert [getattr(item, "id", None) for item in final.output] == [
        item["id"] for item in response["output"]
    ]
