"""The byte-counting clients, against a server that cuts where it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from benchmarks.tools.client import Address, open_poster, open_stream, tail_request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
FRAMES = (
    b'data: {"delta":"1.5|0|x","response_id":"resp_0a"}\n\n'
    b'data: {"delta": "2.5|1|x","response_id":"resp_0a"}\n\n'
    b"data: [DONE]\n\n"
)


@asynccontextmanager
async def serving(pieces: Sequence[bytes]) -> AsyncIterator[Address]:
    """A server for one connection, which it answers with `pieces` as they are cut."""
    served = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield Address(*server.sockets[0].getsockname()[:2])
        await served.wait()


@pytest.mark.parametrize("cut", [1, 40, 49, 80, 99, 105])
async def test_stamps_are_found_wherever_the_bytes_are_cut(cut: int) -> None:
    stamps: list[float] = []
    async with serving([HEAD, FRAMES[:cut], FRAMES[cut:]]) as address:
        stream = await open_stream(
            address, tail_request("resp_0a"), lambda _, yielded_at: stamps.append(yielded_at)
        )
        await stream.ended

        assert stamps == [1.5, 2.5]
        assert stream.is_complete
        assert await stream.response_id == "resp_0a"


async def test_a_connection_answers_one_post_after_the_other() -> None:
    async with serving([b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\n", b"{}{}"]) as address:
        poster = await open_poster(address)

        assert await poster.post(b"POST / HTTP/1.1\r\n\r\n") == (202, b"{}{}")
        poster.close()
