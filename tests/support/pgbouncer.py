"""PgBouncer in transaction mode before a test's database."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.places import roomy_folder
from tests.support.processes import Process
from tests.support.waiting import wait_until_sync

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooled(dsn: str, *, connections: int = 3) -> Iterator[str]:
    """The same database through a pooler with so many server connections; skips without one."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    info = conninfo_to_dict(dsn)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pgdurable-pgbouncer-", dir=roomy_folder()))
    folder.chmod(0o755)
    name, config = info["dbname"], folder / "pgbouncer.ini"
    (folder / "users").write_text(f'"{info["user"]}" "{info.get("password") or ""}"\n')
    where = f"host={info['host']} port={info.get('port') or 5432} dbname={name}"
    where += f" password='{info['password']}'" if info.get("password") else ""
    config.write_text(
        f"[databases]\n{name} = {where} user={info['user']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\n"
        f"default_pool_size = {connections}\n"
    )
    as_account = ["-u", _account(str(info["host"]))] if os.geteuid() == 0 else []
    address = f"postgresql://{info['user']}@127.0.0.1:{port}/{name}"

    def answers() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(address, connect_timeout=2):
            return True
        assert pooler.returncode is None, pooler.output()
        return False

    try:
        with Process(PROGRAM, *as_account, str(config)) as pooler:
            wait_until_sync(answers, what="pgbouncer")
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account(host: str) -> str:
    """Who may enter the server's folder: as root, pgbouncer does not run."""
    return pwd.getpwuid(os.stat(host).st_uid).pw_name if host.startswith("/") else "nobody"
