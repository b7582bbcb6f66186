"""Is the server alive? PostgreSQL's own answer, kill(pid, 0), takes zombies for living.

A container whose PID 1 reaps nothing keeps a killed server as a zombie for ever, and PostgreSQL
then refuses to start: `lock file ... already exists`. The command line knows better: it is empty
for a zombie, and another one for a recycled pid.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from pgdurable.database.embedded.binaries import EmbeddedPostgresError


class PidFile(NamedTuple):
    """What postmaster.pid says, and whether that process lives."""

    pid: int
    port: int
    shmid: int
    status: str
    live: bool


class Postmaster:
    """The server of one data directory, seen from outside. Callers hold the home's lock."""

    def __init__(self, data: Path, run: Path) -> None:
        self._data = data
        self._run = run

    def read(self) -> PidFile | None:
        """None where there is no readable postmaster.pid."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            lines += [""] * (8 - len(lines))
            pid, port, shm = int(lines[0]), int(lines[3]), lines[6].split()
        except (OSError, ValueError, IndexError):
            return None
        live = f"-D {self._data}" in _command_line(pid)
        return PidFile(pid, port, int(shm[1]) if len(shm) > 1 else 0, lines[7].strip(), live)

    def wait_until_decided(self) -> int | None:
        """The port of a running server, None where there is none; waits while it starts or stops.

        A server that has lost its socket file is stopped: nobody could reach it.
        """
        deadline = time.monotonic() + 60
        while (now := self.read()) and now.live:
            if now.status == "ready":
                if (self._run / f".s.PGSQL.{now.port}").exists():
                    return now.port
                self.stop()
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"the server in {self._data} (pid {now.pid}) is {now.status or 'stuck'}"
                )
            time.sleep(0.05)
        return None

    def stop(self) -> None:
        """Ask for a fast shutdown and wait; insist after a minute, give up ten seconds later."""
        start, asked = time.monotonic(), 0
        while (now := self.read()) and now.live:
            waited = time.monotonic() - start
            with contextlib.suppress(ProcessLookupError):
                if asked == 0:
                    os.kill(now.pid, signal.SIGINT)  # "fast": roll back, checkpoint, exit
                    asked = 1
                elif asked == 1 and waited > 60:
                    os.kill(now.pid, signal.SIGQUIT)
                    asked = 2
            if waited > 70:
                return
            time.sleep(0.02)

    def remove_stale_locks(self) -> None:
        """Undo what a killed server left, once no process of it uses its memory any more.

        The files lie in directories of this server's own, so nobody else can need them.
        """
        deadline = time.monotonic() + 10
        while (left := self.read()) and left.shmid and _shm_attached(left.shmid):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"processes of an old server still use {self._data}")
            time.sleep(0.05)
        for stale in (self._data / "postmaster.pid", *self._run.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
            return raw.replace(b"\0", b" ").decode(errors="replace")
        return ""
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout


def _shm_attached(shmid: int) -> bool:
    try:
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(int(f[1]) == shmid and int(f[6]) > 0 for f in map(str.split, rows))
