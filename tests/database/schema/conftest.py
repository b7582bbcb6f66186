"""A copy of the SQL that a test may change, as if it were another release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pgdurable.database.schema import SqlFiles, sql_dir


class Release:
    """A folder like `sql/`; `load` makes of it what a release with that number would want.

    Without one it is another build of this release.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, release: str | None = None) -> SqlFiles:
        return SqlFiles.load(self.folder, release)

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(f"\n{text}\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    folder = tmp_path / "sql"
    shutil.copytree(str(sql_dir()), folder)
    return Release(folder)
