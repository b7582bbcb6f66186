"""Server processes for the clients, as `pgdurable run` starts them."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.processes import Process

ROOT = Path(__file__).parents[2]
_SERVING = re.compile(r"serving (http://\S+?)/responses")


class Server:
    """A process that serves, and where."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None


@contextlib.contextmanager
def serving(target: str, dsn: str, *options: str) -> Iterator[Server]:
    """`pgdurable run TARGET` on a free port; killed in the end."""
    command = [sys.executable, "-m", "pgdurable", "run", f"tests.clients.{target}"]
    with Process(*command, "--port", "0", "--dsn", dsn, *options, cwd=str(ROOT)) as process:
        said = process.wait_for("Ctrl-C stops it")
        found = _SERVING.search(said)
        assert found, said
        yield Server(process, found[1])


class Fleet:
    """A front that only serves, and workers that may be killed: there are always enough."""

    WORKERS = 3

    def __init__(self, dsn: str, stack: contextlib.ExitStack) -> None:
        self._dsn = dsn
        self._stack = stack
        self.front = stack.enter_context(serving("agents:fleet", dsn, "--no-worker"))
        self._workers: list[Server] = []

    def workers(self) -> list[Server]:
        """The living ones, the dead ones replaced."""
        self._workers = [worker for worker in self._workers if worker.is_alive]
        while len(self._workers) < self.WORKERS:
            self._workers.append(self._stack.enter_context(serving("agents:fleet", self._dsn)))
        return self._workers

    def setting(self) -> dict[str, Any]:
        """What a script needs to know."""
        workers = [worker.url for worker in self.workers()]
        return {"front": self.front.url, "workers": workers}

    def kill(self, pid: int) -> bool:
        """SIGKILL the worker with this process id."""
        for worker in self._workers:
            if worker.process.pid == pid:
                worker.process.kill()
                return True
        raise AssertionError(f"no worker has the process id {pid}")
