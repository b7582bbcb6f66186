"""A process that serves until it is told to stop: sockets, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

from aiohttp import web

from pgdurable.logs import LogEvent, log
from pgdurable.runtime import Runtime

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Readers have been let go by then; what is left are clients that do not read.
SHUTDOWN_SECONDS = 2.0


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket; `shared` lets several processes accept on one port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


async def serve(app: web.Application, sock: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve the application until SIGTERM or SIGINT; a second signal ends the process at once."""
    if sock.getsockname()[0] not in LOOPBACK:
        logger.warning(
            "listening beyond this machine without authentication: "
            "put a proxy that authenticates in front of it"
        )
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=15.0,
    )
    with until_stopped() as stopped:
        await runner.setup()
        try:
            await web.SockSite(runner, sock, backlog=1024).start()
            log(logger, logging.INFO, LogEvent.SERVER_STARTED, address=address_of(sock))
            on_ready()
            await stopped.wait()
        finally:
            await runner.cleanup()
    log(logger, logging.INFO, LogEvent.SERVER_STOPPED)


async def work(
    opened: contextlib.AbstractAsyncContextManager[Runtime], *, on_ready: Callable[[], None]
) -> None:
    """Run a worker without a server until SIGTERM or SIGINT; a second signal ends it at once."""
    with until_stopped() as stopped:
        async with opened:
            on_ready()
            await stopped.wait()


@contextlib.contextmanager
def until_stopped() -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process.

    Not through loop.add_signal_handler: an agent that blocks the loop would make us deaf.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(stopped.set)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def address_of(sock: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
