"""A process that serves until it is told to stop: sockets, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import FrameType
from typing import Any, Literal

from aiohttp import web

from pgdurable import fork
from pgdurable.config import LongRunningSettings
from pgdurable.errors import ConfigurationError
from pgdurable.logs import LogEvent, log
from pgdurable.process.runtime import Runtime
from pgdurable.server import HttpConnection

logger = logging.getLogger(__name__)

Loop = Literal["auto", "asyncio", "uvloop"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Readers have been let go by then; what is left are clients that do not read.
SHUTDOWN_SECONDS = 2.0
# For connections that do not close, beyond what the settings grant.
MARGIN_SECONDS = 10.0


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


def patience(settings: LongRunningSettings) -> float:
    """How many seconds an orderly end may take, before the process ends without order."""
    return settings.drain_timeout_seconds + settings.cleanup_timeout_seconds + MARGIN_SECONDS


def run_to_end(main: Coroutine[Any, Any, None], *, loop: Loop = "auto") -> None:
    """Run it to its end, and no longer: a task that ignores its cancellation is left behind.

    A task of an agent's that calls sys.exit(), or raises KeyboardInterrupt, ends itself and whoever
    awaits it, not the process and everybody else's responses; in a child that a handler has forked
    it ends the child.
    """
    events = new_loop(loop)
    running = events.create_task(main)
    try:
        while not running.done():
            try:
                with fork.child_ends():
                    events.run_until_complete(running)
            except (SystemExit, KeyboardInterrupt) as exc:
                if running.done():
                    raise
                log(logger, logging.ERROR, LogEvent.TASK_FAILED, exc_info=exc)
    finally:
        left = asyncio.all_tasks(events)
        for task in left:
            task.cancel()
        if left:
            events.run_until_complete(asyncio.wait(left, timeout=1))
        if not asyncio.all_tasks(events):
            events.close()


def new_loop(loop: Loop) -> asyncio.AbstractEventLoop:
    """The named event loop; `auto` is uvloop where it is installed. Raises ConfigurationError."""
    if loop == "asyncio":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        if loop == "auto":
            return asyncio.new_event_loop()
        raise ConfigurationError(
            "uvloop is not installed. Run: pip install 'pgdurable[fast]'"
        ) from None
    return uvloop.new_event_loop()


async def serve(
    app: web.Application,
    sock: socket.socket,
    *,
    within: float,
    on_ready: Callable[[], None],
    second_ends: bool = True,
) -> None:
    """Serve the application until SIGTERM or SIGINT, then end `within` seconds.

    A second signal ends the process at once, unless `second_ends` is false.
    """
    if sock.getsockname()[0] not in LOOPBACK:
        reason = (
            "listening beyond this machine without authentication: "
            "put a proxy that authenticates in front of it"
        )
        log(logger, logging.WARNING, LogEvent.SERVER_EXPOSED, reason=reason)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    with (
        fork.withheld(lambda: _sockets(sock, runner)),
        until_stopped(within, second_ends=second_ends) as stopped,
    ):
        await runner.setup()
        try:
            with contextlib.closing(await _listen(runner, sock)):
                log(logger, logging.INFO, LogEvent.SERVER_STARTED, address=address_of(sock))
                _tune_collector()
                on_ready()
                await stopped.wait()
        finally:
            await runner.cleanup()
    log(logger, logging.INFO, LogEvent.SERVER_STOPPED)


def _sockets(sock: socket.socket, runner: web.AppRunner) -> Iterable[int]:
    """The descriptors of the listening socket, and of every client's."""
    yield sock.fileno()
    for connection in runner.server.connections if runner.server is not None else ():
        if connection.transport is not None:
            client: Any = connection.transport.get_extra_info("socket")
            yield client.fileno() if client is not None else -1


async def _listen(runner: web.AppRunner, sock: socket.socket) -> asyncio.Server:
    """Accept connections of our own kind, which an aiohttp site would not."""
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None

    def connection() -> HttpConnection:
        no_log: Any = None
        return HttpConnection(server, loop=loop, access_log=no_log, keepalive_timeout=15.0)

    return await loop.create_server(connection, sock=sock, backlog=1024)


async def work(
    opened: contextlib.AbstractAsyncContextManager[Runtime],
    *,
    within: float,
    on_ready: Callable[[], None],
    second_ends: bool = True,
) -> None:
    """Run a worker without a server until SIGTERM or SIGINT, then end as `serve` does."""
    with (
        fork.withheld(lambda: ()),
        until_stopped(within, second_ends=second_ends) as stopped,
    ):
        async with opened:
            _tune_collector()
            on_ready()
            await stopped.wait()


@contextlib.contextmanager
def until_stopped(within: float, *, second_ends: bool = True) -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process.

    So does leaving the block later than `within` seconds after the first. Not through
    loop.add_signal_handler: an agent that blocks the loop would make us deaf.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False
    too_late = threading.Timer(within, _end_without_order, [within])
    too_late.daemon = True

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            too_late.start()
            loop.call_soon_threadsafe(stopped.set)
        elif second_ends:
            os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        too_late.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_without_order(seconds: float) -> None:
    os.write(2, f"pgdurable: not stopped {seconds:g} s after it was told to; ending\n".encode())
    os._exit(1)


def address_of(sock: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tune_collector() -> None:
    """Let the garbage collector pass over what has been loaded, and look less often.

    A response is a few hundred objects, hardly one of them in a cycle; with Python's defaults a
    busy process spends a sixth of its time searching everything it has loaded for garbage. Much
    more than 10,000 new objects at once, and every stream feels the pause.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
