"""A TCP proxy before Postgres that fails in the ways that a network does.

It runs in a thread of its own; processes connect to `dsn`, in the clear.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.waiting import TIMEOUT

READY = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, outside a transaction
NOTIFICATION = ord("A")


class Link:
    """One connection through the proxy; `start` is its startup message, with application_name."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.start = b""
        self.frozen = False
        self.mute = False
        self._client = client
        self._server = server
        self.sent = b""
        self.rest = b""

    def cut(self) -> None:
        """Close both sides."""
        for writer in (self._client, self._server):
            writer.transport.abort()


class Proxy:
    """Forwards to Postgres' socket until it is told otherwise.

    `lose_answer(pattern, k)`: the k-th statement from now that contains `pattern` reaches Postgres
    and is carried out, but the connection ends before its answer. `lose_statement`: it ends before
    the statement. `freeze(name)`: nothing goes through any more on connections whose
    application_name contains it, and nobody is told; `deafen`: no notifications go through.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pattern = b""
        self._countdown = 0
        self._before = False
        self._frozen: list[bytes] = []
        self.seen = 0
        self.cuts = 0
        self.is_deaf = False
        self.port = 0

    @property
    def dsn(self) -> str:
        return (
            f"postgresql://postgres@127.0.0.1:{self.port}/pgdurable?sslmode=disable"
            "&gssencmode=disable"
        )

    def lose_answer(self, pattern: str, k: int) -> None:
        self._pattern, self._countdown, self._before = pattern.encode(), k, False
        self.seen = self.cuts = 0

    def lose_statement(self, pattern: str, k: int) -> None:
        self.lose_answer(pattern, k)
        self._before = True

    def freeze(self, name: str = "") -> None:
        self._loop.call_soon_threadsafe(self._freeze, name.encode())

    def thaw_new(self) -> None:
        """Connections from now on go through again; frozen ones stay so."""
        self._loop.call_soon_threadsafe(self._frozen.clear)

    def _freeze(self, name: bytes) -> None:
        self._frozen.append(name)
        for link in self._links:
            link.frozen = link.frozen or name in link.start

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        ready = threading.Event()
        thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run(ready)))
        thread.start()
        try:
            assert ready.wait(TIMEOUT)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stopped.set)
            thread.join(TIMEOUT)
            self._loop.close()

    async def _run(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_unix_connection(self._upstream)
            link = Link(writer, server_writer)
            self._links.add(link)
            ways = [
                asyncio.ensure_future(self._up(link, reader, server_writer)),
                asyncio.ensure_future(self._down(link, server_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._links.discard(link)
                link.cut()
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()

    async def _up(
        self, link: Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        link.start = await reader.read(1 << 16)
        link.frozen = any(name in link.start for name in self._frozen)
        data = link.start
        while data:
            if not link.frozen:
                if self._is_due(link, data):
                    self.cuts += 1
                    if self._before:
                        return
                    link.mute = True
                server.write(data)
                await server.drain()
            data = await reader.read(1 << 16)

    def _is_due(self, link: Link, data: bytes) -> bool:
        if not self._pattern:
            return False
        window = link.sent + data  # a statement may come in pieces
        link.sent = window[-len(self._pattern) + 1 :]
        found = window.count(self._pattern)
        self.seen += found
        before, self._countdown = self._countdown, self._countdown - found
        return found > 0 and before > 0 >= self._countdown

    async def _down(
        self, link: Link, reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            if link.frozen:
                continue
            if link.mute:
                if READY in data:  # it is done, and committed
                    return
                continue
            client.write(_without_notifications(link, data) if self.is_deaf else data)
            await client.drain()


def _without_notifications(link: Link, data: bytes) -> bytes:
    """The whole messages among what Postgres sends, but for its notifications."""
    data, kept = link.rest + data, bytearray()
    while len(data) >= 5:
        size = 1 + int.from_bytes(data[1:5])
        if len(data) < size:
            break
        if data[0] != NOTIFICATION:
            kept += data[:size]
        data = data[size:]
    link.rest = data
    return bytes(kept)
