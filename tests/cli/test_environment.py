"""Commands under variables of libpq, and under a time limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdurable.database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.cli.command import refused, said
from tests.cli.responses import Connection, enqueue

VARIABLES = {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "127.0.0.1",
    "PGPORT": "1",
    "PGUSER": "nobody_at_all",
    "PGDATABASE": "nothing",
    "PGPASSFILE": "/nonexistent",
    "PGOPTIONS": "-c nonsense=1",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREPEER": "nobody_at_all",
    "PGCHANNELBINDING": "require",
}


def test_our_own_server_takes_nothing_from_variables_or_a_service(
    home: Path, tmp_path: Path
) -> None:
    service = tmp_path / "services"
    service.write_text("[elsewhere]\nhostaddr=127.0.0.1\noptions=-c nonsense=1\n")
    place = {"PGDURABLE_HOME": str(home)}
    of_service = {"PGSERVICE": "elsewhere", "PGSERVICEFILE": str(service)}
    for env in (VARIABLES, of_service):
        err = said("ls", env={**place, **env})[1]
        assert err.startswith("EMBEDDED, not for production.") and "No responses." in err


def test_another_server_in_our_place_is_left_alone(home: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(home) as other:
        mine = EmbeddedPostgres(tmp_path / "mine", database="intruder")
        mine.run = other.run
        with pytest.raises(EmbeddedPostgresError, match="another one answers"):
            mine._create_database()


def test_prune_takes_smaller_batches_where_a_statement_may_not_take_as_long(
    dsn: str, db: Connection
) -> None:
    for _ in range(12):
        said_id = enqueue(db)
        db.execute("select pgdurable.cancel_response(%s, '')", [said_id])
    db.execute(
        "alter function pgdurable._delete_leftovers(text[], text[], text[]) rename to _leftovers"
    )
    db.execute("""
        create function pgdurable._delete_leftovers(p text[], q text[], r text[]) returns void
        language plpgsql as $$ begin
          perform pg_sleep(0.1 * cardinality(p));
          perform pgdurable._leftovers(p, q, r);
        end $$
    """)
    db.execute(f"alter database {db.info.dbname} set statement_timeout = '500ms'")
    db.execute("""
        create or replace function pgdurable.now() returns timestamptz
        language sql as $$ select clock_timestamp() + interval '2 days' $$
    """)
    assert "Deleted 12 responses." in said("prune", "--older-than", "1d", dsn=dsn)[0]


def test_prune_says_so_where_not_even_one_response_can_be_deleted(dsn: str, db: Connection) -> None:
    db.execute("""
        create or replace function pgdurable.prune_responses(
          p_older_than interval, p_limit integer default 1000
        ) returns integer language sql as 'select 1 from pg_sleep(10)'
    """)
    db.execute(f"alter database {db.info.dbname} set statement_timeout = '50ms'")
    err = refused("prune", "--older-than", "1d", dsn=dsn)
    assert "statement_timeout is too short" in err and "0 are deleted" in err
