"""Several processes of one command: signals are passed on, and one that dies is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence

import click

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
# One that has run this long was healthy: the next restart is quick again.
HEALTHY_SECONDS = 30.0


async def keep_running(argv: Sequence[str], env: Mapping[str, str], count: int) -> int:
    """Run `count` processes until SIGTERM or SIGINT; returns the exit status for all of them.

    Each gets a session of its own, so that Ctrl-C reaches it once, through us, and a pipe as its
    stdin, which closes when we die.
    """
    fleet = _Fleet(argv, env)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, fleet.stop)
    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(fleet.keep(number + 1)) for number in range(count)]
    return max(keeper.result() for keeper in keepers)


class _Fleet:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = argv
        self._env = {**os.environ, **env}
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """The first time a request to drain; from the second time on to end at once.

        A child does not count signals: systemd sends SIGTERM to each process of a service, so it
        may hear of one request from there and from us.
        """
        self._signal(signal.SIGKILL if self._stopping.is_set() else signal.SIGTERM)
        self._stopping.set()

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    async def keep(self, number: int) -> int:
        """Keep one process running, and say so whenever it has to be replaced."""
        delay = FIRST_DELAY_SECONDS
        while True:
            started = time.monotonic()
            status = await self._run(number)
            if self._stopping.is_set():
                return _exit_status(status)
            if time.monotonic() - started > HEALTHY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            click.echo(f"Starting another process {number} in {delay:g} s.", err=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
                return _exit_status(status)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _run(self, number: int) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            env=self._env,
            start_new_session=True,
        )
        self._children[number] = child
        if self._stopping.is_set():  # asked while it was being started
            child.terminate()
        status = await child.wait()
        del self._children[number]
        if not self._stopping.is_set():
            click.echo(f"Process {number} (pid {child.pid}) {_how(status)}.", err=True)
        return status


def _exit_status(status: int) -> int:
    return status if status >= 0 else 128 - status


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
