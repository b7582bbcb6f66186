"""Databases for commands: this test's own, or an embedded one in a home of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.support.places import roomy_folder


@pytest.fixture
def db(dsn: str) -> Iterator[psycopg.Connection[TupleRow]]:
    """A connection to the database that the command works on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty PGDURABLE_HOME that Postgres' account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pgdurable-cli-", dir=roomy_folder()))
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
