"""The demo's processes: real `pgdurable run` children, started, killed, and all stopped."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click

START_SECONDS = 20.0
STOP_SECONDS = 15.0
AGENT = "pgdurable_cli.demo_agent:server"


class Child:
    """One `pgdurable run`, with its output in a file and a pipe that ends it when we die."""

    def __init__(self, name: str, dsn: str, log: Path, *options: str) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pgdurable", "run", AGENT, "--until-stdin-closes", *options],
                env={**os.environ, "PGDURABLE_DSN": dsn, "PGDURABLE_LOG_QUIET": ""},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the children in order
            )
        self.pid = self._process.pid

    def wait_until_says(self, pattern: str) -> str:
        """The first group of `pattern`, once it is in the output."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            if found := re.search(pattern, self.output()):
                return found[1]
            if ended:
                break
            time.sleep(0.02)
        raise click.ClickException(f"the {self.name} did not start:\n{self.output()}")

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed, nobody is told."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        self._process.terminate()

    def stop(self, deadline: float) -> None:
        """Wait for its end until the deadline, then kill it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Children:
    """A server and two workers; leaving the block stops whatever still runs."""

    def __init__(self, dsn: str, *, queue: str, logs: Path) -> None:
        self._dsn = dsn
        self._queue = queue
        self._logs = logs
        self._all: list[Child] = []

    def start(self, name: str, *options: str) -> Child:
        """Start one of them; it is not ready yet."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        child = Child(name, self._dsn, log, "--queue", self._queue, *options)
        self._all.append(child)
        return child

    def by_pid(self, pid: int) -> Child | None:
        """The child with this pid; None for a process that is not ours to kill."""
        return next((child for child in self._all if child.pid == pid), None)

    def last_words(self) -> str:
        """The end of each child's output, for when something has gone wrong."""
        return "\n".join(
            f"--- {child.name} (pid {child.pid})\n" + "\n".join(child.output().splitlines()[-15:])
            for child in self._all
        )

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self._all:
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._all:
            child.stop(deadline)
