"""One database for all examples of a run: emptied in between, which is cheaper than made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.database import Database


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    opened = Database(dsn)
    yield opened
    opened.close()
