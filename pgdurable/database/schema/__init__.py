"""Brings a database to the schema this release needs, and tells whether it is there.

Two kinds of change, because functions are code and tables are data:

- `sql/NN_name.sql` are repeatable. When one's checksum differs from what was applied, all of them
  are applied again in file order. `sql/02_tables.sql` is the exception: the tables as of now,
  applied to a fresh database only.
- `sql/migrations/NNNN_name.sql` change existing tables: forward only, each once. A fresh database
  gets them recorded, not run.

All of that happens in one transaction under one advisory lock, so it is all there or nothing is,
and twenty processes may ask at once.

- `sql/migrations/NNNN_name.concurrently.sql` follow it, statement by statement: indexes that are
  built while processes are at work, checks of old rows. Processes work without them, only slower.
  One that stops halfway is begun again by the next `migrate`.

Rolling deploys. Each apply stores the release that did it. At the same migrations, functions of a
*newer* release are accepted (`check`) and left alone (`migrate`): releases keep old callers
working until the tables change. Functions that differ and are not newer are refused, and so are
migrations that this release does not know.

The migrator's own statements live here and not in `queries.py`: they run before there is anything
to call, and the same text has to come out of `script`.
"""

from pgdurable.database.schema.files import SqlFiles, sql_dir
from pgdurable.database.schema.migrator import (
    DEFAULT_LOCK_TIMEOUT,
    RoleMissing,
    check,
    installed,
    migrate,
    require_role,
    status,
)
from pgdurable.database.schema.plan import Fit, Installed, Status, script
from pgdurable.database.schema.privileges import READER, RUNTIME
from pgdurable.database.schema.session import MigrationFailed

__all__ = [
    "DEFAULT_LOCK_TIMEOUT",
    "READER",
    "RUNTIME",
    "Fit",
    "Installed",
    "MigrationFailed",
    "RoleMissing",
    "SqlFiles",
    "Status",
    "check",
    "installed",
    "migrate",
    "require_role",
    "script",
    "sql_dir",
    "status",
]
