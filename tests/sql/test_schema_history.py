"""sql/01_schema_history.sql: what was applied. tests/database/schema has the rest."""

from __future__ import annotations

from importlib.metadata import version

from pgdurable.database.schema import SqlFiles
from tests.support.engine import Conn, value


async def test_every_repeatable_file_is_recorded_with_its_checksum(db: Conn) -> None:
    rows = await (
        await db.execute("select f.name, f.checksum, f.release from pgdurable.schema_files as f")
    ).fetchall()
    assert {row[0]: row[1] for row in rows} == SqlFiles.load().checksums
    assert {row[2] for row in rows} == {version("pgdurable")}


async def test_a_fresh_database_has_every_migration_recorded(db: Conn) -> None:
    count = await value(db, "select count(*) from pgdurable.schema_migrations")
    assert count == len(SqlFiles.load().migrations)
