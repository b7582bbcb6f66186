"""What no client sends: the process answers, and goes on."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from yarl import URL

from tests.clients.serving import Server

MEGABYTE = 1 << 20
ID = b"x" * MEGABYTE


async def status_of(server: Server, request: bytes) -> int:
    """How these bytes are answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            head = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
    return int(head.split()[1])


async def is_alive(server: Server) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/health") as answer:
        return answer.status == 200 and server.is_alive


@pytest.mark.parametrize(
    "line",
    [
        b"GET /responses/" + ID,
        b"DELETE /v1/responses/resp_" + b"0" * MEGABYTE,
        b"GET /responses/" + b"../" * (MEGABYTE // 3),
        b"GET /responses/" + b"%00" * (MEGABYTE // 3),
        b"POST /responses/" + ID + b"/cancel",
        b"GET /conversations/" + ID,
        b"GET /" + ID,
    ],
    ids=lambda line: line[:30].decode(),
)
async def test_an_id_of_a_megabyte_is_refused(server: Server, line: bytes) -> None:
    end = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert await status_of(server, line + end) in (400, 414)
    assert await is_alive(server)


@pytest.mark.parametrize(
    "request_",
    [
        b"rubbish\r\n\r\n",
        b"GET /responses/a b HTTP/1.1\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + ID + b"\r\n\r\n",
    ],
    ids=lambda request: request[:40].decode(),
)
async def test_what_is_not_http_is_refused(server: Server, request_: bytes) -> None:
    assert 400 <= await status_of(server, request_) < 500
    assert await is_alive(server)


async def test_a_body_that_never_comes_harms_nobody(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
    writer.write(b"POST /responses HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    assert await is_alive(server)
    writer.close()
    assert await is_alive(server)
    assert await reader.read() == b""
