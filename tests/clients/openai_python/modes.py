"""The modes: blocking, stream, background, both; leaving and coming back; asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from tests.clients.openai_python.harness import (
    WORDS,
    numbers,
    plain,
    poll,
    replay,
    server,
    strict,
    text,
)


@server
def blocking(client: Any) -> None:
    response = strict(client).responses.create(model="m", input="text 10", metadata={"a": "b"})
    assert response.status == "completed" and response.output_text == WORDS
    assert response.model == "m" and response.metadata == {"a": "b"} and not response.background
    assert client.responses.retrieve(response.id) == response


@server
def blocking_that_is_silent_for_long_is_kept_alive(client: Any) -> None:
    response = client.responses.create(model="m", input="silent 1")
    assert response.output_text == "at last"


@server
def stream(client: Any) -> None:
    events = list(strict(client).responses.create(model="m", input="text 10 0.05", stream=True))
    assert numbers(events) == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert text(events) == WORDS == events[-1].response.output_text
    assert plain(replay(client, events[0].response.id)) == plain(events)


@server
def stream_helper(client: Any) -> None:
    with client.responses.stream(model="m", input="text 10") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == WORDS and final.status == "completed"
    snapshots = [e.snapshot for e in events if e.type == "response.output_text.delta"]
    assert snapshots[-1] == WORDS


@server
def background_poll(client: Any) -> None:
    response = client.responses.create(model="m", input="text 10 0.02", background=True)
    assert response.status in ("queued", "in_progress") and response.background
    assert response.output_text == ""
    assert poll(client, response).output_text == WORDS


@server
def background_stream(client: Any) -> None:
    events = list(client.responses.create(model="m", input="text 10", background=True, stream=True))
    assert text(events) == WORDS
    assert poll(client, events[0].response).output_text == WORDS


@server
def background_stream_helper(client: Any) -> None:
    with client.responses.stream(model="m", input="text 10", background=True) as stream:
        assert stream.get_final_response().output_text == WORDS


@server
def disconnect_after_every_event_and_resume(client: Any) -> None:
    k = 0
    while True:
        seen: list[Any] = []
        asked = {"model": "m", "input": "text 5 0.01", "background": True, "stream": True}
        with client.responses.create(**asked) as stream:
            for event in stream:
                seen.append(event)
                if len(seen) > k:
                    break
        response_id, cut = seen[0].response.id, len(seen)
        arguments = {"stream": True, "starting_after": seen[-1].sequence_number}
        seen += list(client.responses.retrieve(response_id, **arguments))
        assert numbers(seen) == list(range(len(seen)))
        assert plain(seen) == plain(replay(client, response_id))
        assert text(seen) == "w0 w1 w2 w3 w4 " and seen[-1].type == "response.completed"
        if cut == len(seen):
            return
        k += 1


@server
def cursors(client: Any) -> None:
    response = client.responses.create(model="m", input="text 3")
    log = replay(client, response.id)
    for cursor in range(-1, len(log) + 2):
        arguments = {"stream": True, "starting_after": cursor}
        events = list(client.responses.retrieve(response.id, **arguments))
        assert plain(events) == plain(log[cursor + 1 :])


@server
def stream_helper_attaches_to_a_response(client: Any) -> None:
    response = client.responses.create(model="m", input="text 10 0.02", background=True)
    with client.responses.stream(response_id=response.id, starting_after=3) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert events[0].sequence_number == 4 and final.output_text == WORDS


@server
def asynchronous(client: Any) -> None:
    asyncio.run(_asynchronous(str(client.base_url)))


async def _asynchronous(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key="-", timeout=30) as client:
        responses: Any = client.responses
        blocking = await responses.create(model="m", input="text 10")
        assert blocking.output_text == WORDS
        async with responses.stream(model="m", input="text 10") as stream:
            assert (await stream.get_final_response()).output_text == WORDS
        assert sum(await asyncio.gather(*[_read_async(responses) for _ in range(10)])) == 10


async def _read_async(responses: Any) -> int:
    asked = {"model": "m", "input": "text 10 0.01", "background": True, "stream": True}
    seen = []
    stream = await responses.create(**asked)
    async for event in stream:
        seen.append(event)
        if len(seen) == 7:
            break
    await stream.close()
    response_id, last = seen[0].response.id, seen[-1].sequence_number
    async for event in await responses.retrieve(response_id, stream=True, starting_after=last):
        seen.append(event)
    assert numbers(seen) == list(range(len(seen))) and text(seen) == WORDS
    return 1
