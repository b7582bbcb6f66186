"""A real, durable Postgres on disk for one invocation, with a fresh database for every run."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import socket
import statistics
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg
from psycopg import sql

from benchmarks.tools.process import cpu_seconds, family
from pgdurable.database.embedded import EmbeddedPostgres

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "log_min_messages": "fatal",
    "logging_collector": "off",
    "shared_preload_libraries": "pg_stat_statements",
}


class Cluster:
    """One server on 127.0.0.1, started for this invocation and removed after it.

    The directory is on disk, never in memory: $PGDURABLE_BENCH_DATA, else /var/tmp.
    """

    def __init__(self) -> None:
        base = os.environ.get("PGDURABLE_BENCH_DATA", "/var/tmp")
        self._home = Path(tempfile.mkdtemp(prefix="pgdurable-bench-", dir=base))
        self._home.chmod(0o755)
        self._port = free_port()
        self._server = EmbeddedPostgres(self._home, settings=SETTINGS, port=self._port)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Cluster:
        self._server.start()
        with psycopg.connect(self.dsn("template1"), autocommit=True) as conn:
            conn.execute("create extension if not exists pg_stat_statements")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """A DSN over TCP that every driver here understands, Node's and SQLAlchemy's included."""
        password = quote((self._home / "password").read_text().strip(), safe="")
        return f"postgresql://postgres:{password}@127.0.0.1:{self._port}/{database}"

    def fresh_database(self) -> str:
        """Create a database, checkpoint, so that no run pays for the one before, return its DSN."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            conn.execute("checkpoint")
        return self.dsn(name)

    def machine(self) -> dict[str, str]:
        """What a reader needs to know about where a result was measured."""
        with psycopg.connect(self.dsn("postgres")) as conn:
            version = str(conn.info.parameter_status("server_version"))
        return {
            "cores": str(os.cpu_count()),
            "PostgreSQL": version,
            "Python": platform.python_version(),
            "8 kB write + fdatasync": f"{self._sync_microseconds():.0f} µs",
        }

    def _sync_microseconds(self) -> float:
        seconds: list[float] = []
        fdatasync = getattr(os, "fdatasync", os.fsync)
        with tempfile.TemporaryFile(dir=self._home) as file:
            for _ in range(200):
                started = time.monotonic()
                os.pwrite(file.fileno(), bytes(8192), 0)
                fdatasync(file.fileno())
                seconds.append(time.monotonic() - started)
        return statistics.median(seconds) * 1e6

    def cpu_seconds(self) -> float:
        """CPU time of the postmaster and its present children since they started."""
        return cpu_seconds(family(self.postmaster_pid()))

    def postmaster_pid(self) -> int:
        return int((self._home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
