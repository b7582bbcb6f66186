"""A Postgres of a test's own, which it may stop, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pgdurable.database import schema
from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres
from tests.support.places import roomy_folder
from tests.support.waiting import wait_until_sync


class Postgres:
    """A server in a folder of its own."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._server = self._joined()
        self.dsn = self._server.dsn()

    def _joined(self) -> EmbeddedPostgres:
        server = EmbeddedPostgres(self._home, settings=FAST_SETTINGS)
        server.start()
        return server

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(self._server.run / ".s.PGSQL.5432")

    @property
    def postmaster(self) -> int:
        return int((self._server.data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """What `pg_ctl stop -m immediate` does: every process of it ends without a word."""
        pid = self.postmaster
        os.kill(pid, signal.SIGQUIT)
        wait_until_sync(lambda: not _is_alive(pid), what="the server to end")

    def start(self) -> None:
        """Again, with what it has on disk."""
        before, self._server = self._server, self._joined()
        before.close()

    def backends(self) -> list[int]:
        """The connections of pgdurable's processes."""
        with psycopg.connect(self.dsn) as conn:
            rows = conn.execute(
                "select pid from pg_stat_activity where application_name like 'pgdurable%'"
            ).fetchall()
        return [int(row[0]) for row in rows]

    def terminate_backends(self) -> int:
        """Each connection of pgdurable's processes, as an administrator would."""
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name like 'pgdurable%'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._server.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A migrated server, gone in the end."""
    home = tempfile.mkdtemp(prefix="pgdurable-crash-", dir=roomy_folder())
    os.chmod(home, 0o755)  # as root, the server runs as another account
    try:
        postgres = Postgres(home)
        try:
            schema.migrate(postgres.dsn)
            yield postgres
        finally:
            postgres.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)
