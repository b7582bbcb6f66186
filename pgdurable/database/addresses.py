"""The addresses of the hosts in a connection string.

psycopg would look them up in asyncio's default executor, behind whatever handlers do there. The
names stay beside their addresses: certificates are checked against them.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pgdurable.threads import in_own_thread

PORT = "5432"


class ResolvedConnection(AsyncConnection[TupleRow]):
    """A connection whose hosts are looked up in a thread of their own."""

    @classmethod
    async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> dict[str, Any]:
        said = conninfo_to_dict(conninfo, **kwargs)
        hosts = _said(said, "host", "PGHOST").split(",")
        if _said(said, "hostaddr", "PGHOSTADDR") or not any(map(_is_name, hosts)):
            return said
        ports = (_said(said, "port", "PGPORT") or PORT).split(",")
        if len(ports) not in (1, len(hosts)):
            return said  # libpq's to refuse
        ports = ports * len(hosts) if len(ports) == 1 else ports
        found = await in_own_thread(partial(_look_up, list(zip(hosts, ports, strict=True))))
        names, addresses, numbers = zip(*found, strict=True)
        return {
            **said,
            "host": ",".join(names),
            "hostaddr": ",".join(addresses),
            "port": ",".join(numbers),
        }


def _said(said: dict[str, Any], name: str, variable: str) -> str:
    return str(said.get(name) or os.environ.get(variable, ""))


def _is_name(host: str) -> bool:
    """Is there something to look up? A socket's folder, or nothing, is not."""
    return host != "" and not host.startswith(("/", "@"))


def _look_up(hosts: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Name, address and port of every address of every host that has one."""
    found: list[tuple[str, str, str]] = []
    failure: psycopg.OperationalError | None = None
    for host, port in hosts:
        if not _is_name(host):
            found.append((host, "", port))
            continue
        try:
            answers = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        except OSError as exc:
            failure = psycopg.OperationalError(f"failed to resolve host {host!r}: {exc}")
            continue
        found.extend((host, str(answer[4][0]), port) for answer in answers)
    if not found and failure is not None:
        raise failure
    return found
