"""A server in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.waiting import TIMEOUT


@contextmanager
def served(app: web.Application) -> Iterator[str]:
    """The application's address while it is served; what it raises at its start is raised here."""
    ready: Future[str] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with TestServer(app, loop=loop) as server:
            ready.set_result(str(server.make_url("")).rstrip("/"))
            await stop.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(serve())
            except Exception as exc:
                if ready.done():
                    raise
                ready.set_exception(exc)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ready.result(TIMEOUT)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
