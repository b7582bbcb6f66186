"""A connection as the runtime opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pgdurable.database import connections
from tests.support.engine import Conn


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Conn]:
    """To this test's database: in autocommit, json as bytes."""
    async with await connections.connect(dsn, name="test") as conn:
        yield conn
