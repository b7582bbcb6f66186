"""The SQL this release ships: where it is, its order, its checksums."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from pgdurable.errors import ConfigurationError

TABLES = "02_tables.sql"


def sql_dir() -> Traversable:
    """pgdurable/sql in a wheel, ../sql in a checkout (an editable install)."""
    packaged = files("pgdurable") / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "sql"


class SqlFile(NamedTuple):
    """One file of the engine; `name` without its folder."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def concurrent(self) -> bool:
        """Is it for after the transaction, while processes are at work?"""
        return self.name.endswith(".concurrently.sql")

    @property
    def statements(self) -> list[str]:
        """Of a concurrent file, without comments: each ends with a semicolon that ends a line."""
        text = re.sub(r"/\*.*?\*/|--[^\n]*", "", self.text, flags=re.DOTALL)
        return [part.strip() for part in re.split(r"(?<=;)\s*\n", text) if part.strip()]


@dataclass(frozen=True)
class SqlFiles:
    """What a release wants a database to have.

    `engine` is every `NN_name.sql` in file order, the tables included; `migrations` by number.
    """

    engine: tuple[SqlFile, ...]
    migrations: dict[int, SqlFile]
    release: str

    @classmethod
    def load(cls, folder: Traversable | None = None, release: str | None = None) -> SqlFiles:
        """Those of this installation, unless told otherwise."""
        folder = folder or sql_dir()
        engine = _read(folder, r"\d\d_\w+\.sql")
        if not engine:
            raise ConfigurationError(f"there are no SQL files in {folder}; reinstall pgdurable")
        migrations: dict[int, SqlFile] = {}
        for file in _read(folder / "migrations", r"\d{4}_\w+(\.concurrently)?\.sql"):
            number = int(file.name[:4])
            if number in migrations:
                raise ConfigurationError(
                    f"two migrations have one number: {migrations[number].name} and {file.name}"
                )
            migrations[number] = file
        return cls(engine, migrations, release or version("pgdurable"))

    @cached_property
    def checksums(self) -> dict[str, str]:
        """Of the repeatable files; the tables are not one of them."""
        return {file.name: file.checksum for file in self.engine if file.name != TABLES}


def _read(folder: Traversable, pattern: str) -> tuple[SqlFile, ...]:
    if not folder.is_dir():
        return ()
    found = [entry for entry in folder.iterdir() if re.fullmatch(pattern, entry.name)]
    return tuple(
        SqlFile(entry.name, entry.read_text("utf-8"))
        for entry in sorted(found, key=lambda entry: entry.name)
    )
