"""`pgdurable` as a child process, and what was left of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import Process
from tests.support.waiting import TIMEOUT

ROOT = Path(__file__).parents[2]


def pgdurable(*args: str, dsn: str = "", env: Mapping[str, str] | None = None) -> Process:
    """The command, started in the checkout; `dsn` goes through the environment."""
    variables = {**_named(dsn), **(env or {})}
    return Process(sys.executable, "-m", "pgdurable", *args, env=variables, cwd=str(ROOT))


def said(
    *args: str, dsn: str = "", env: Mapping[str, str] | None = None, status: int = 0
) -> tuple[str, str]:
    """stdout and stderr of a command that ends by itself, with this exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "pgdurable", *args],
        env={**os.environ, **_named(dsn), **(env or {})},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    assert done.returncode == status, f"exit status {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def refused(
    *args: str, dsn: str = "", env: Mapping[str, str] | None = None, status: int = 1
) -> str:
    """What a command says on stderr that ends with an error; all on one screen, no traceback."""
    _, err = said(*args, dsn=dsn, env=env, status=status)
    assert "Error: " in err
    assert len(err.splitlines()) <= 6, err
    return err


def _named(dsn: str) -> dict[str, str]:
    return {"PGDURABLE_DSN": dsn} if dsn else {}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def processes_naming(text: str) -> list[str]:
    """The command lines in which `text` occurs, ours excepted."""
    if not sys.platform.startswith("linux"):
        ps = ["ps", "-axww", "-o", "command="]
        lines = subprocess.run(ps, capture_output=True, text=True, check=True).stdout.splitlines()
        return [line for line in lines if text in line]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


def lives(pid: int) -> bool:
    """Is it there, and no zombie?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")
