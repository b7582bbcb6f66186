"""One PostgreSQL server per home directory, shared by every process that opens it.

    HOME/data           the cluster, 0700
    HOME/run            the socket, 0700 (below /tmp where the path would be too long)
    HOME/postgres.log   what the server says
    HOME/password       of the account postgres, for TCP
    HOME/lock           flock(2): held while somebody starts or stops the server
    HOME/users          flock(2): held, shared, by each user; who gets it alone is the last one

A killed process drops its locks by itself, so there is no list of pids that could go stale.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.pq import Conninfo

from pgdurable.database.embedded.binaries import (
    EmbeddedPostgresError,
    account,
    find_binaries,
    runnable,
)
from pgdurable.database.embedded.postmaster import Postmaster

# For tests only: the data does not survive a crash of the machine. It does survive kill -9 of the
# server, which is why synchronous_commit stays on: off, the last commits are still in its memory.
FAST_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
}


# What no variable may decide because the connection string has it, or because it does no harm.
OURS = {"user", "dbname", "host", "port", "service", "servicefile", "application_name"} | {
    "connect_timeout",
    "client_encoding",
}
# Options that take no empty value although none is compiled in.
USUAL = {"sslcertmode": "allow", "min_protocol_version": "3.0", "max_protocol_version": "3.0"}


def _unlike_environment() -> str:
    """Options that undo what variables of libpq (PGHOSTADDR, PGOPTIONS) and a service would add."""
    options = []
    for option in Conninfo.get_defaults():
        name, variable = option.keyword.decode(), (option.envvar or b"").decode()
        if name in OURS or not variable:
            continue
        if variable in os.environ or "PGSERVICE" in os.environ:
            usual = USUAL.get(name) or (option.compiled or b"").decode()
            options.append(f"&{name}={quote(usual, safe='')}")
    return "".join(options)


def default_home() -> Path:
    """$PGDURABLE_HOME, else where this system keeps such data."""
    if env := os.environ.get("PGDURABLE_HOME"):
        return Path(env)
    if os.geteuid() == 0:  # not below /root, which the server's account cannot enter
        return Path("/var/lib/pgdurable")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pgdurable"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pgdurable"


class EmbeddedPostgres:
    """Starts the home's server or joins it; the last one to leave stops it.

    `port` opens 127.0.0.1 as well (with a password); without it there is only the socket.
    `settings` and `port` count for the process that starts the server, not for one that joins it.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        database: str = "pgdurable",
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        keep_running: bool = False,
    ) -> None:
        self.home = Path(home or default_home()).expanduser().resolve()
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.run = self.home / "run"
        if len(os.fsencode(self.run)) > 80:  # a socket's path may have 104 bytes (macOS)
            digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
            self.run = Path("/tmp") / f"pgdurable-{os.geteuid()}-{digest}"
        self.database = database
        self.settings = dict(settings or {})
        self.port = port
        self.keep_running = keep_running
        self.started_here = False
        self._users: int | None = None
        self._opened_by = 0
        self._port = port or 5432
        self._account = account()
        self._postmaster = Postmaster(self.data, self.run)

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def dsn(self, database: str | None = None) -> str:
        """The connection string, through the socket; `database` defaults to our own."""
        name, run = quote(database or self.database, safe=""), quote(str(self.run), safe="")
        return f"postgresql://postgres@/{name}?host={run}&port={self._port}{_unlike_environment()}"

    def start(self) -> str:
        """Start the server or join the one that runs; return its DSN."""
        try:
            self.home.mkdir(mode=0o755, parents=True, exist_ok=True)
            with self._alone():
                users = self._join()
                self._users, self._opened_by = users, os.getpid()
                atexit.register(self.close)
        except OSError as exc:
            raise EmbeddedPostgresError(
                f"cannot keep a database in {self.home}: {exc.strerror or exc}. "
                "PGDURABLE_HOME chooses another place."
            ) from exc
        return self.dsn()

    def close(self) -> None:
        """Leave; the last one out stops the server."""
        if self._users is None or self._opened_by != os.getpid():  # a fork has nothing to close
            return
        atexit.unregister(self.close)
        users, self._users = self._users, None
        try:
            with self._alone():
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self.keep_running:
                    self._postmaster.stop()
        except BlockingIOError:
            pass  # others still use it
        except FileNotFoundError:
            pass  # the home was deleted; the server notices that by itself and ends
        finally:
            os.close(users)

    def _join(self) -> int:
        users = os.open(self.home / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            running = self._postmaster.wait_until_decided()
            if running is None:
                self._start_server()
            else:
                self._port = running
            self._create_database()
        except BaseException:
            os.close(users)
            raise
        return users

    def _create_database(self) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            row = conn.execute("show data_directory").fetchone()
            if row is None or Path(row[0]).resolve() != self.data:
                raise EmbeddedPostgresError(
                    f"not the server of {self.data}, but another one answers in {self.run}; "
                    "nothing has changed there"
                )
            find = "select 1 from pg_database where datname = %s"
            if not conn.execute(find, [self.database]).fetchone():
                create = sql.SQL("create database {}")
                conn.execute(create.format(sql.Identifier(self.database)))

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        fd = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _start_server(self) -> None:
        version = self.data / "PG_VERSION"
        major = int(version.read_text()) if version.exists() else None
        bin_dir = runnable(find_binaries(major, data=self.data), self._account)
        self._check_account_can_enter()
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.touch(mode=0o600)
        self._own(self.run, self.log)
        if major is None:
            self._initdb(bin_dir)
        self._postmaster.remove_stale_locks()
        settings = {
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or 5432),
            "unix_socket_directories": str(self.run),
            **self.settings,
        }
        self._port = self.port or 5432
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        where = ["-D", str(self.data), "-l", str(self.log)]
        # pg_ctl gives the server a session of its own: Ctrl-C reaches the workers, not Postgres
        self._tool(bin_dir, "pg_ctl", "start", *where, "-w", "-t", "60", "-o", options)
        self.started_here = True

    def _initdb(self, bin_dir: Path) -> None:
        new = self.home / "data.new"  # renamed when whole: an interrupted initdb leaves no cluster
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = self.home / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        self._own(new, password)
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        sync = ["--no-sync"] if self.settings.get("fsync") == "off" else []
        locale = ["-E", "UTF8", "--locale=C"]
        self._tool(bin_dir, "initdb", "-D", str(new), "-U", "postgres", *locale, *auth, *sync)
        with contextlib.suppress(FileNotFoundError):
            self.data.rmdir()  # empty, or rename says so
        new.rename(self.data)

    def _check_account_can_enter(self) -> None:
        if self._account.user is None:
            return
        for folder in (self.home, *self.home.parents):
            mode = folder.stat()
            if not mode.st_mode & 0o001 and mode.st_uid != self._account.user:
                raise EmbeddedPostgresError(
                    f"PostgreSQL does not run as root, and the account it runs as (uid "
                    f"{self._account.user}) may not enter {folder}. PGDURABLE_HOME chooses another "
                    "place for the data."
                )

    def _own(self, *paths: Path) -> None:
        if self._account.user is not None and self._account.group is not None:
            for path in paths:
                os.chown(path, self._account.user, self._account.group)

    def _tool(self, bin_dir: Path, *argv: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
        with tempfile.TemporaryFile() as out:  # not a pipe, which the server would hold open
            done = subprocess.run(
                [bin_dir / argv[0], *argv[1:]],
                cwd="/",
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
                user=self._account.user,
                group=self._account.group,
                extra_groups=self._account.extra_groups,
            )
            out.seek(0)
            said = out.read().decode(errors="replace").strip()
        if done.returncode:
            log = self.log.read_text(errors="replace").splitlines()[-15:]
            raise EmbeddedPostgresError("\n".join([f"{argv[0]} failed:", said, *log]))
