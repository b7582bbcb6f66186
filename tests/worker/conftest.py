"""A connection as the runtime opens it."""

from __future__ import annotations

from tests.sql.conftest import db as db
