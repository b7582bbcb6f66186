"""Cheap HTTP clients: Server-Sent Events counted as bytes, and POSTs over kept connections.

Nothing is decoded. A frame ends with an empty line, so frames are counted by it; the handler's
stamp, `"delta":"<monotonic seconds>|...`, is found by a regular expression.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

_STAMP = re.compile(rb'"delta": ?"(\d+\.\d+)\|')
_ID = re.compile(rb"resp_[0-9a-f]+")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

OnStamp = Callable[[float, float], None]
"""Called with the instant of receipt and the instant of the yield, both monotonic seconds."""


class Address(NamedTuple):
    host: str
    port: int


class EventStream(asyncio.Protocol):
    """One answer with an event stream, from the request to the end of the connection."""

    def __init__(self, request: bytes, on_stamp: OnStamp | None = None) -> None:
        self._request = request
        self._on_stamp = on_stamp
        self._tail = b""
        self._last = b""
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.response_id: asyncio.Future[str] = loop.create_future()
        self.frames = 0
        self.first_at = 0.0
        self.is_complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.frames += data.count(b"\n\n")
        if not self.first_at and b"data: " in data:
            self.first_at = now
        if not self.response_id.done() and (found := _ID.search(data)):
            self.response_id.set_result(found[0].decode())
        if self._on_stamp is not None:
            data = self._tail + data
            end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            for stamp in _STAMP.finditer(data, 0, end):
                self._on_stamp(now, float(stamp[1]))
            self._tail = data[end:]
        self._last = self._last[-16:] + data[-32:]
        if b"data: [DONE]" in self._last:
            self.is_complete = True
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if not self.response_id.done():
            self.response_id.set_exception(exc or ConnectionResetError("no response id was sent"))
            self.response_id.exception()  # so that one nobody waits for does not complain

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Poster(asyncio.Protocol):
    """POSTs over one kept connection, one at a time, for answers with a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, body = bytes(self._data).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or self._answer is None:
            return
        if length is None:
            self._answer.set_exception(RuntimeError(f"no Content-Length in {head!r}"))
        elif len(body) >= int(length[1]):
            self._data.clear()
            self._answer.set_result((int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def post_request(*, stream: bool, **spec: Any) -> bytes:
    """POST /responses in the background; `spec` tells the benchmark agent what to do."""
    content = json.dumps(spec)
    request = {
        "input": [{"role": "user", "content": content}],
        "background": True,
        "stream": stream,
    }
    body = json.dumps(request).encode()
    return (
        b"POST /responses HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


def tail_request(response_id: str, cursor: int | None = None) -> bytes:
    """GET the event stream of a response, from its first event where there is no cursor."""
    after = "" if cursor is None else f"&starting_after={cursor}"
    return (
        f"GET /responses/{response_id}?stream=true{after} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    )


async def open_stream(
    address: Address, request: bytes, on_stamp: OnStamp | None = None
) -> EventStream:
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: EventStream(request, on_stamp), *address)
    return stream


async def open_poster(address: Address) -> Poster:
    _, poster = await asyncio.get_running_loop().create_connection(Poster, *address)
    return poster


async def start_response(address: Address, **spec: Any) -> str:
    """Start a background stream, wait for its id, leave; it goes on without a reader."""
    stream = await open_stream(address, post_request(stream=True, **spec))
    response_id = await stream.response_id
    stream.close()
    return response_id
