"""Calling a handler, whatever kind it is: async on the event loop, sync in a thread of its own.

Threads are daemons: one that is stuck in an author's code cannot keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Final, TypeVar

from pgdurable import fork
from pgdurable.agent import AgentRequest, Context, Handler, request_cancel
from pgdurable.errors import InvalidEvent

T = TypeVar("T")


class Quit(Exception):
    """The handler has raised what is meant to end a task or a process: it ends the attempt."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"the handler raised {raised!r}")
        self.raised = self.__cause__ = raised  # the log shows where it was raised


# How far a sync generator may be ahead of the log.
AHEAD = 64


async def for_result(handler: Handler, request: AgentRequest, context: Context) -> Any:
    """Call the handler for what it returns; awaited, if it is awaitable."""
    with fork.child_ends():
        if handler.is_async:
            value = handler(request, context)
        else:
            value = await _in_thread(lambda: handler(request, context))
        return await value if inspect.isawaitable(value) else value


async def for_values(
    handler: Handler, request: AgentRequest, context: Context
) -> AsyncGenerator[Any, None]:
    """Call the handler for all it yields, whether it is a generator or returns an iterable.

    An InvalidEvent that is thrown in, because of what it has yielded, gets a note of where.
    """
    if _makes_generator(handler):
        value = handler(request, context)
    else:
        value = await for_result(handler, request, context)
    if isinstance(value, AsyncIterable):
        async with _closing(value) as items:
            with fork.child_ends():
                async for item in items:
                    with _named(handler, items):
                        yield item
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        async for item in _from_thread(value, context):
            with _named(handler):
                yield item
    elif value is not None:
        with _named(handler):
            yield value


@contextlib.contextmanager
def _named(handler: Handler, values: object = None) -> Iterator[None]:
    """Adds where the value comes from: the `yield` where an async generator waits, else the
    function, since one in a thread may be ahead of its reader."""
    try:
        yield
    except InvalidEvent as exc:
        frame = getattr(values, "ag_frame", None)
        at = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {handler.name}" if frame else None
        exc.add_note(f"It was yielded at {at or handler.place}")
        raise


def _makes_generator(handler: Handler) -> bool:
    """Is calling it harmless, because the author's code runs only when it is iterated?"""
    function = handler.function
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


@contextlib.asynccontextmanager
async def _closing(value: AsyncIterable[T]) -> AsyncIterator[AsyncIterable[T]]:
    try:
        yield value
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(value, "aclose", None)
        if close is not None:
            with contextlib.suppress(RuntimeError):  # it ignores being closed
                await close()


async def _in_thread(function: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            with fork.child_ends():
                value = context.run(function)
        except Exception as exc:
            # A future cannot hold a StopIteration.
            error = RuntimeError(f"{exc!r}") if isinstance(exc, StopIteration) else exc
        except BaseException as exc:  # in a task, SystemExit would end the event loop
            error = Quit(exc)
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(deliver, value, error)

    threading.Thread(target=work, name="pgdurable-handler", daemon=True).start()
    return await future


class _Left(Exception):
    """Nobody reads what the generator yields any more."""


_END: Final = object()


async def _from_thread(values: Iterable[T], context: Context) -> AsyncIterator[T]:
    """What a sync iterable yields, at most AHEAD values ahead of the reader."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    left = threading.Event()

    def put(value: Any) -> None:
        while not room.acquire(timeout=0.5):
            if left.is_set():
                break
        if left.is_set():
            raise _Left
        try:
            loop.call_soon_threadsafe(queue.put_nowait, value)
        except RuntimeError:  # the loop has closed
            raise _Left from None

    def work() -> None:
        with contextlib.suppress(_Left), contextlib.closing(_Closable(values)):
            for value in values:
                put(value)

    finished = asyncio.ensure_future(_in_thread(work))
    finished.add_done_callback(lambda _: queue.put_nowait(_END))
    try:
        while (value := await queue.get()) is not _END:
            yield value
            room.release()
        await finished
    finally:
        left.set()
        request_cancel(context)
        finished.cancel()


class _Closable:
    """An iterable with a close(), a no-op where it has none."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = values

    def close(self) -> None:
        close = getattr(self._values, "close", None)
        if close is not None:
            close()
