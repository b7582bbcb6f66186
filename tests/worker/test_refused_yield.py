"""The log names the `yield` of what was refused, in the author's own file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.support.inside import inside

CHUNK = {"type": "AIMessageChunk", "content": "Hel"}


async def in_a_generator(request: Any) -> AsyncIterator[Any]:
    yield "text"
    yield CHUNK  # line of the yield


async def in_a_helper(request: Any) -> AsyncIterator[Any]:
    async for value in in_a_generator(request):
        yield value  # line of the yield


def in_a_thread(request: Any) -> Iterator[Any]:
    yield CHUNK


def line(function: Callable[..., Any], offset: int) -> str:
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno + offset}"


@pytest.mark.parametrize(
    ("handler", "place"),
    [
        (in_a_generator, f"{line(in_a_generator, 2)}, in in_a_generator"),
        (in_a_helper, f"{line(in_a_helper, 2)}, in in_a_helper"),
        (in_a_thread, f"in_a_thread ({line(in_a_thread, 0)})"),
    ],
)
async def test_the_log_names_where_a_value_was_yielded_that_is_no_event(
    handler: Any, place: str, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(dsn, handler) as server:
        response = await server.finished(await server.post())
    assert response["status"] == "failed"
    assert response["error"]["code"] == "invalid_event"
    assert "'AIMessageChunk' is no type of an event" in response["error"]["message"]
    assert ".py" not in response["error"]["message"]
    assert f"It was yielded at {place}" in caplog.text


async def test_a_handler_is_closed_and_not_asked_about_what_was_refused(dsn: str) -> None:
    heard: list[BaseException] = []

    async def curious(request: Any) -> AsyncIterator[Any]:
        try:
            yield CHUNK
        except BaseException as exc:
            heard.append(exc)
            raise

    async with inside(dsn, curious) as server:
        await server.finished(await server.post())
    assert [type(exc) for exc in heard] == [GeneratorExit]
