"""Fixtures: one disposable server a run, one fresh migrated database a test.

The server is our own embedded one (PGDURABLE_PG_BIN picks its programs), or $PGDURABLE_TEST_DSN,
whose role must be allowed to create databases.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from pytest_postgresql.executors import NoopExecutor

from pgdurable.database import schema
from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres
from tests.support.clock import Clock
from tests.support.places import roomy_folder

HOME = "PGDURABLE_TEST_HOME"  # in the environment, so that xdist's workers share one server
SERVER = "PGDURABLE_TEST_DSN"
_made_home = pytest.StashKey[bool]()
_number = itertools.count()

settings.register_profile("pgdurable", deadline=None)  # a machine under load is no failure
settings.load_profile("pgdurable")


def pytest_configure(config: pytest.Config) -> None:
    # A background job of a script ignores Ctrl-C, and the processes that tests interrupt would too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for variable in ("PGDURABLE_DSN", "DATABASE_URL", "PGDURABLE_LISTEN_DSN"):
        os.environ.pop(variable, None)  # tests name their own, or none
    if HOME not in os.environ and SERVER not in os.environ:
        os.environ[HOME] = tempfile.mkdtemp(prefix="pgdurable-test-", dir=roomy_folder())
        os.chmod(os.environ[HOME], 0o755)  # as root, the server runs as another account
        config.stash[_made_home] = True


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash.get(_made_home, False):
        shutil.rmtree(os.environ.pop(HOME), ignore_errors=True)


@pytest.fixture(scope="session")
def admin_dsn() -> Iterator[str]:
    """A server to make databases on."""
    if dsn := os.environ.get(SERVER):
        yield dsn
        return
    home = os.environ[HOME]
    with EmbeddedPostgres(home, database="postgres", settings=FAST_SETTINGS) as server:
        yield server.dsn()


@pytest.fixture(scope="session")
def admin(admin_dsn: str) -> Iterator[psycopg.Connection[TupleRow]]:
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="session")
def template(admin: psycopg.Connection[TupleRow], admin_dsn: str) -> Iterator[str]:
    """A migrated database that nobody is connected to."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_tmpl"
    _create_database(admin, name, "template0")
    schema.migrate(make_conninfo(admin_dsn, dbname=name))
    yield name
    _drop_database(admin, name)


@pytest.fixture
def dsn(admin: psycopg.Connection[TupleRow], admin_dsn: str, template: str) -> Iterator[str]:
    """A fresh migrated database, with channels and advisory locks of its own."""
    name = f"{template.removesuffix('_tmpl')}_{next(_number)}"
    _create_database(admin, name, template)
    yield make_conninfo(admin_dsn, dbname=name)
    _drop_database(admin, name)


@pytest.fixture
def empty_dsn(admin: psycopg.Connection[TupleRow], admin_dsn: str) -> Iterator[str]:
    """A fresh database without our schema."""
    name = f"empty_{os.getpid()}_{next(_number)}"
    _create_database(admin, name, "template0")
    yield make_conninfo(admin_dsn, dbname=name)
    _drop_database(admin, name)


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
    """A connection to this test's database, in autocommit."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def clock(dsn: str) -> Iterator[Clock]:
    """Time in this test's database; asking for it makes `pgdurable.now()` movable."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Clock(connection)


@pytest.fixture(scope="session")
def postgresql_proc(admin_dsn: str, template: str) -> NoopExecutor:
    """pytest-postgresql's fixture of this name, over our server: its own refuses to run as root.

    Its `postgresql` and `postgresql_async` clients build on it, and on `template` (<dbname>_tmpl).
    """
    info = conninfo_to_dict(admin_dsn)
    return NoopExecutor(
        host=str(info["host"]),
        port=int(info.get("port") or 5432),
        user=str(info["user"]),
        password=None if info.get("password") is None else str(info["password"]),
        dbname=template.removesuffix("_tmpl"),
        options="",
    )


def _create_database(admin: psycopg.Connection[TupleRow], name: str, template: str) -> None:
    copy = "create database {} template {}"
    if admin.info.server_version >= 150000:
        copy += " strategy file_copy"  # faster than wal_log once fsync is off
    admin.execute(sql.SQL(copy).format(sql.Identifier(name), sql.Identifier(template)))


def _drop_database(admin: psycopg.Connection[TupleRow], name: str) -> None:
    admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
