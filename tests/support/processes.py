"""Real processes: started, listened to, killed by pid, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

from tests.support.waiting import TIMEOUT, wait_until_sync


class Process:
    """A child whose output can be waited for. A context manager: leaving it kills the child."""

    def __init__(
        self, *argv: str, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._child = subprocess.Popen(
            argv,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def output(self) -> str:
        """What it has said so far, both streams."""
        size = os.fstat(self._out.fileno()).st_size
        return os.pread(self._out.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, text: str, *, timeout: float = TIMEOUT) -> str:
        """The output, once it holds `text`; fails at once if the child ends without saying it."""

        def said_or_gone() -> bool:
            return text in self.output() or self.returncode is not None

        wait_until_sync(said_or_gone, timeout=timeout, what=f"{text!r} from {self._child.args!r}")
        said = self.output()
        assert text in said, f"ended with {self.returncode} without saying {text!r}:\n{said}"
        return said

    def send(self, signum: signal.Signals) -> None:
        self._child.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, and wait until it is reaped."""
        self._child.kill()
        self._child.wait(TIMEOUT)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Its exit status."""
        return self._child.wait(timeout)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGCONT)
            self.kill()
        self._out.close()


def python(code: str, *args: str, env: Mapping[str, str] | None = None) -> Process:
    """A Python child that runs `code`."""
    return Process(sys.executable, "-c", code, *args, env=env)
