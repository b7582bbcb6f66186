"""What no client sends: the process answers, and goes on."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from yarl import URL

from tests.clients.serving import Server

MEGABYTE = 1 << 20
ID = b"x" * MEGABYTE
SECRET = b"Bearer hunter2"


async def refused(server: Server, request: bytes) -> int:
    """The status of the answer to these bytes, which is an error in the one shape."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(fields[b"content-length"]))
    finally:
        writer.close()
    assert fields[b"content-type"] == b"application/json" and fields[b"x-request-id"]
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["message"]
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
    assert await refused(server, line + end) in (400, 414)
    assert await is_alive(server)


@pytest.mark.parametrize(
    "request_",
    [
        b"rubbish\r\n\r\n",
        b"GET /responses/a b HTTP/1.1\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + ID + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: " + SECRET + b"\0\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda request: request[:40].decode("latin1"),
)
async def test_what_is_not_http_is_refused(server: Server, request_: bytes) -> None:
    before = server.process.output()
    assert 400 <= await refused(server, request_) < 500
    assert await is_alive(server)
    assert server.process.output() == before, "nothing is logged of what anybody may send"


async def test_a_body_that_never_comes_harms_nobody(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
    writer.write(b"POST /responses HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    assert await is_alive(server)
    writer.close()
    assert await is_alive(server)
    assert await reader.read() == b""
