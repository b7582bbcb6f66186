"""Hosts of a connection string, looked up where no handler can be in the way."""

from __future__ import annotations

import socket
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgdurable.database.addresses import ResolvedConnection

KNOWN = {"db": ["10.0.0.1"], "two": ["10.0.0.2", "fd00::2"]}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network in which two names are known."""

    def look_up(host: str, port: str, **how: Any) -> list[Any]:
        if host[:1].isdigit() or ":" in host:
            return [(0, 0, 0, "", (host, port))]
        if host not in KNOWN:
            raise socket.gaierror("unknown")
        return [(0, 0, 0, "", (address, port)) for address in KNOWN[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for variable in ("PGHOST", "PGHOSTADDR", "PGPORT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("dsn", "resolved"),
    [
        ("postgresql://db/app", "host=db hostaddr=10.0.0.1 port=5432 dbname=app"),
        (
            "host=db port=6432 sslmode=verify-full",
            "host=db hostaddr=10.0.0.1 port=6432 sslmode=verify-full",
        ),
        ("host=two", "host=two,two hostaddr=10.0.0.2,fd00::2 port=5432,5432"),
        (
            "host=two,db,missing port=1,2,3 target_session_attrs=read-write",
            "host=two,two,db hostaddr=10.0.0.2,fd00::2,10.0.0.1 port=1,1,2"
            " target_session_attrs=read-write",
        ),
        ("host=/run/postgresql,db", "host=/run/postgresql,db hostaddr=,10.0.0.1 port=5432,5432"),
        ("postgresql://[fd00::7]:1/app", "host=fd00::7 hostaddr=fd00::7 port=1 dbname=app"),
        ("host=db hostaddr=10.0.0.9", "host=db hostaddr=10.0.0.9"),
        ("host=/run/postgresql", "host=/run/postgresql"),
        ("host=@abstract", "host=@abstract"),
        ("dbname=app", "dbname=app"),
        ("host=db,two port=1,2,3", "host=db,two port=1,2,3"),
    ],
)
async def test_names_get_their_addresses_and_keep_their_place(dsn: str, resolved: str) -> None:
    assert await ResolvedConnection._get_connection_params(dsn) == conninfo_to_dict(resolved)


async def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db")
    monkeypatch.setenv("PGPORT", "7")
    found = await ResolvedConnection._get_connection_params("dbname=app")
    assert found == conninfo_to_dict("host=db hostaddr=10.0.0.1 port=7 dbname=app")


async def test_a_name_that_nobody_knows_is_said() -> None:
    with pytest.raises(psycopg.OperationalError, match="failed to resolve host 'missing'"):
        await ResolvedConnection._get_connection_params("host=missing")
