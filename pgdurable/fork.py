"""A child that a handler forks: nothing that is this process's is the child's.

It has a copy of everything, and every open file. With our signal handlers nobody could terminate
it; our sockets would hold the port and the clients of a server that has died; on our connections
and our event loop it would speak in its parent's name. What was ours is /dev/null in the child:
nothing is said to the other end, and no file of the child gets that number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Descriptors = Callable[[], Iterable[int]]

_withheld: list[Descriptors] = []
_serving: list[Descriptors] = []


def withhold(descriptors: Descriptors) -> None:
    """Keep these from every child; `descriptors` is asked there."""
    _withheld.append(descriptors)


@contextlib.contextmanager
def withheld(descriptors: Descriptors) -> Iterator[None]:
    """Keep these, the signal handlers and the event loops from children, while the block runs."""
    _serving.append(descriptors)
    try:
        yield
    finally:
        _serving.remove(descriptors)


@contextlib.contextmanager
def child_ends() -> Iterator[None]:
    """A child that comes out of this block ends, as a program does after its last line."""
    pid = os.getpid()
    raised: BaseException | None = None
    try:
        yield
    except BaseException as exc:
        raised = exc
        raise
    finally:
        if os.getpid() != pid:
            _end(raised)


def _end(raised: BaseException | None) -> None:
    status = 0
    if isinstance(raised, SystemExit) and (raised.code is None or isinstance(raised.code, int)):
        status = (raised.code or 0) & 0xFF
    elif raised is not None:
        status = 1
        if isinstance(raised, SystemExit):
            print(raised.code, file=sys.stderr)
        else:
            traceback.print_exception(raised)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _in_child() -> None:
    serving = _serving.copy()
    if serving:
        _serving.clear()  # the child's own children have their signals and loops from the child
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptors in (*_withheld, *serving, *([_event_loops] if serving else [])):
        for descriptor in list(descriptors()):
            with contextlib.suppress(OSError):
                os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def _event_loops() -> Iterator[int]:
    """The parent shares its watched descriptors. Loops of other threads have died here."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry) == "anon_inode:[eventpoll]":
                yield int(entry.name)


os.register_at_fork(after_in_child=_in_child)
