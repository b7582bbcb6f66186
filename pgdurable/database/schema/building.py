"""What follows the transaction: indexes and checks, built while processes are at work."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import psycopg

from pgdurable.database.schema.files import SqlFiles
from pgdurable.database.schema.locks import Patience, take_lock
from pgdurable.database.schema.plan import Step, builds
from pgdurable.database.schema.session import (
    Connection,
    command,
    connect,
    failure,
    read_installed,
    run,
)

# The lock's transaction is idle for as long as the longest index takes.
IDLE = """
select set_config(s.name, '0', true)
from pg_settings as s
where s.name in ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""


def build(dsn: str, wanted: SqlFiles, patience: Patience) -> None:
    """Build what is missing, one migration at a time; leaves it to another who is at it.

    A second session holds the lock, in a transaction: the first can have none, and a lock of the
    session would stay behind in a transaction pooler.
    """
    with closing(connect(dsn)) as keeper, closing(connect(dsn)) as conn:
        if not take_lock(keeper, patience):
            patience.tell("another migration is building the rest")
            return
        keeper.execute(IDLE)
        found = read_installed(conn)
        conn.rollback()
        conn.autocommit = True
        for step in builds(found, wanted, patience.turn):
            patience.tell(step.name)
            patience.spend(partial(_build, conn, dsn, step, patience))


def _build(conn: Connection, dsn: str, step: Step, patience: Patience) -> None:
    try:
        run(conn, step)
    except psycopg.Error as exc:
        conn.rollback() if not conn.closed else None
        state = f"all before it is done, and processes can work. To go on: {command(dsn)}"
        raise failure(conn, exc, step, patience.limit, state=state) from exc
