"""A home of its own for each test, in memory where there is some."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres
from tests.support.places import roomy_folder


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pgdurable-home-", dir=roomy_folder()))
    path.chmod(0o755)  # as root, the server runs as another account
    yield path
    _stop(path)
    shutil.rmtree(path, ignore_errors=True)


def _stop(home: Path) -> None:
    """Whatever the test left running: join it and be the last to leave."""
    if (home / "data" / "postmaster.pid").exists():
        with EmbeddedPostgres(home, settings=FAST_SETTINGS):
            pass
