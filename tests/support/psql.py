"""psql, as a person uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pgdurable.database.embedded.binaries import find_binaries


def find_psql() -> str | None:
    """The one beside the server's programs, else the machine's."""
    bundled = Path(find_binaries()) / "psql"
    return str(bundled) if bundled.exists() else shutil.which("psql")


PSQL = find_psql()
needs_psql = pytest.mark.skipif(PSQL is None, reason="there is no psql on this machine")


def session(dsn: str, script: str) -> str:
    """What psql prints while it is typed this, errors included; it goes on after one."""
    assert PSQL is not None
    done = subprocess.run(
        [PSQL, "--no-psqlrc", "--quiet", dsn],
        input=script,
        env={**os.environ, "PGOPTIONS": "", "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
