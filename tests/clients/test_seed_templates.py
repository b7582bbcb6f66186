"""What the seed's templates check of a deployed agent, written anew.

As they do it: openai-python on the bare address, without `/v1` and without `model`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.serving import Server
from tests.support.waiting import TIMEOUT

ASKED = [{"role": "user", "content": "text 10 0.01"}]
WORDS = "".join(f"w{number} " for number in range(10))


@pytest.fixture
def responses(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=server.url, api_key="-", timeout=30) as client:
        yield client.responses


def poll(responses: Any, response_id: str) -> Any:
    deadline = time.monotonic() + TIMEOUT
    while (response := responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return response


def test_a_call_is_answered(responses: Any) -> None:
    response = responses.create(input=ASKED)
    assert response.output_text == WORDS
    assert response.model == "clients"


def test_a_stream_has_text_deltas(responses: Any) -> None:
    stream = responses.create(input=ASKED, stream=True)
    deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == WORDS


def test_a_background_response_is_polled_to_its_end(responses: Any) -> None:
    response = responses.create(input=ASKED, background=True)
    assert response.id.startswith("resp_") and response.status in ("queued", "in_progress")
    done = poll(responses, response.id)
    assert done.status == "completed" and done.output_text == WORDS


def test_a_background_stream_names_its_response_early(responses: Any) -> None:
    stream = responses.create(input=ASKED, background=True, stream=True)
    events = list(stream)
    assert events[0].response.id.startswith("resp_")
    assert events[-1].type == "response.completed"


def test_a_cursor_leaves_out_what_was_seen(responses: Any) -> None:
    response_id = cursor = None
    with responses.create(input=ASKED, background=True, stream=True) as stream:
        for event in stream:
            response_id = response_id or event.response.id
            cursor = event.sequence_number
            if cursor >= 4:
                break
    assert response_id is not None and cursor is not None
    rest = list(responses.retrieve(response_id, stream=True, starting_after=cursor))
    assert rest and all(event.sequence_number > cursor for event in rest)
    assert rest[-1].response.output_text == WORDS


def test_a_stream_that_was_left_is_polled_to_its_end(responses: Any) -> None:
    with responses.create(input=ASKED, background=True, stream=True) as stream:
        response_id = next(iter(stream)).response.id
    assert poll(responses, response_id).output_text == WORDS


def test_the_stream_helper_in_the_background_and_then_a_poll(responses: Any) -> None:
    # The helper itself insists on one.
    with responses.stream(model="", input=ASKED, background=True) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.model == "clients"
    assert "".join(deltas) == WORDS == final.output_text
    assert poll(responses, final.id).output_text == WORDS
