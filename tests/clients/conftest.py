"""Fixtures: the servers, each for the whole session, on databases of their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from tests.clients.running import Reports
from tests.clients.serving import Fleet, Server, serving

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clients: a real client talks to a real server process")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.clients)


@contextlib.contextmanager
def _database(
    admin: psycopg.Connection[TupleRow], admin_dsn: str, template: str, name: str
) -> Iterator[str]:
    name = f"clients_{name}_{os.getpid()}"
    identifier = sql.Identifier(name)
    create = sql.SQL("create database {} template {}")
    admin.execute(create.format(identifier, sql.Identifier(template)))
    try:
        yield make_conninfo(admin_dsn, dbname=name)
    finally:
        admin.execute(sql.SQL("drop database {} with (force)").format(identifier))


@pytest.fixture(scope="session")
def server_dsn(admin: psycopg.Connection[TupleRow], admin_dsn: str, template: str) -> Iterator[str]:
    """The database behind `server`."""
    with _database(admin, admin_dsn, template, "server") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def server(server_dsn: str) -> Iterator[Server]:
    """One process that serves and works."""
    with serving("agents:server", server_dsn) as running:
        yield running


@pytest.fixture(scope="session")
def mlflow_server(server_dsn: str) -> Iterator[Server]:
    """The same database, another agent: MLflow-style handlers."""
    with serving("mlflow_agents:server", server_dsn, "--queue", "mlflow") as running:
        yield running


@pytest.fixture(scope="session")
def fleet(admin: psycopg.Connection[TupleRow], admin_dsn: str, template: str) -> Iterator[Fleet]:
    """Several processes on one database, with short leases."""
    with (
        _database(admin, admin_dsn, template, "fleet") as dsn,
        contextlib.ExitStack() as stack,
    ):
        yield Fleet(dsn, stack)


@pytest.fixture(scope="session")
def reports() -> Reports:
    """What the clients' scripts have said."""
    return Reports()
