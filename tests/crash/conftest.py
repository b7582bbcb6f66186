"""Fixtures: an HTTP client, a set of processes, a Postgres that may be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.crash.fleet import Nodes
from tests.crash.postgres import Postgres, own_postgres


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Starts processes; none of them outlives the test."""
    with Nodes() as started:
        yield started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client without a limit on connections."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server that the tests of one file may do anything to."""
    with own_postgres() as server:
        yield server
