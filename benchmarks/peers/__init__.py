"""The systems we measure beside ours: package names, and where their environments are.

Nothing of them is in this repository. `python -m benchmarks.peers install` makes one environment
each below $PGDURABLE_BENCH_HOME (default ~/.cache/pgdurable-bench). The modules here run with the
peer's interpreter, so they import the standard library, `benchmarks.tools.marks` and the peer only.
"""

from __future__ import annotations

import os
from pathlib import Path

PYTHON_PACKAGES = {
    "seed": [
        "databricks-ai-bridge[agent-server]",
        "psycopg[binary]",
        "uvicorn",
        "uvloop",
        "httptools",
    ],
    "pgqueuer": ["pgqueuer[asyncpg]", "uvloop"],
    "procrastinate": ["procrastinate", "psycopg[binary,pool]"],
    "dbos": ["dbos"],
    "absurd": ["absurd-sdk", "absurdctl", "psycopg[binary]"],
}
NODE_PACKAGES = ["node@22", "pg", "graphile-worker@latest", "pg-boss@12.35.0"]


class Unavailable(Exception):
    """A contestant cannot run here, because it was not installed."""


def home() -> Path:
    default = Path.home() / ".cache" / "pgdurable-bench"
    return Path(os.environ.get("PGDURABLE_BENCH_HOME") or default)


def python_of(peer: str) -> str:
    """The interpreter of a peer's environment.

    Raises Unavailable when it was not installed.
    """
    path = home() / peer / "bin" / "python"
    if not path.exists():
        raise Unavailable("not installed; `python -m benchmarks.peers install` does it")
    return str(path)


def node() -> str:
    """The interpreter beside graphile-worker and pg-boss.

    Raises Unavailable when it was not installed.
    """
    path = home() / "node" / "node_modules" / ".bin" / "node"
    if not path.exists():
        raise Unavailable("not installed; `python -m benchmarks.peers install` does it")
    return str(path)
