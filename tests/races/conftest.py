"""Two sessions, a and b, and a third connection to look on with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pgdurable.database import connections
from tests.support.engine import Conn
from tests.support.sessions import Session


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Conn]:
    """The onlooker: sets the scene, sees who waits, and reads how it ended."""
    async with await connections.connect(dsn, name="test") as conn:
        yield conn


@pytest.fixture
async def a(dsn: str, db: Conn) -> AsyncIterator[Session]:
    async with await connections.connect(dsn, name="a") as conn:
        yield Session(conn, db)


@pytest.fixture
async def b(dsn: str, db: Conn) -> AsyncIterator[Session]:
    async with await connections.connect(dsn, name="b") as conn:
        yield Session(conn, db)
