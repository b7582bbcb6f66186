"""A person with psql and nothing else: enqueue, roll back, find the stuck one, cancel it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pgdurable.database import queries
from pgdurable.database.embedded.binaries import find_binaries
from tests.support.clock import Clock
from tests.support.engine import PAST_LEASE, Conn, claim, state, value


def find_psql() -> str | None:
    bundled = Path(find_binaries()) / "psql"
    return str(bundled) if bundled.exists() else shutil.which("psql")


PSQL = find_psql()
needs_psql = pytest.mark.skipif(PSQL is None, reason="there is no psql on this machine")


def psql(dsn: str, script: str, *, fails: bool = False) -> str:
    """What psql prints, unaligned; stdin as a person types it."""
    assert PSQL is not None
    done = subprocess.run(
        [
            PSQL,
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "-v",
            "ON_ERROR_STOP=1",
            dsn,
        ],
        input=script,
        env={**os.environ, "PGOPTIONS": "", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return (done.stderr if fails else done.stdout).strip()


@needs_psql
async def test_what_is_enqueued_in_a_transaction_and_rolled_back_was_never_there(
    dsn: str, db: Conn
) -> None:
    said = psql(
        dsn,
        """
        begin;
        create table orders (id int);
        select pgdurable.enqueue_response('{"input":"ship order 1"}', p_idempotency_key => 'o-1');
        select status from pgdurable.response_overview;
        rollback;
        """,
    )
    assert said.splitlines()[1:] == ["queued"]
    for table in ("responses", "requests", "events", "idempotency_keys"):
        assert await value(db, f"select count(*) from pgdurable.{table}") == 0


@needs_psql
async def test_a_person_finds_the_stuck_response_and_its_worker_and_cancels_it(
    dsn: str, db: Conn, clock: Clock
) -> None:
    await queries.register_worker(
        db,
        worker_id="w-1",
        host="host-1",
        pid=42,
        queues=["default"],
        concurrency=1,
        version="0",
        agents=["agent"],
    )
    response_id = psql(dsn, """select pgdurable.enqueue_response('{"input":"hi"}');""")
    await claim(db, "w-1")
    clock.advance(PAST_LEASE)

    stuck = psql(dsn, "select response_id, worker_id, host, pid from pgdurable.expired_leases;")
    assert stuck == f"{response_id}|w-1|host-1|42"
    assert psql(dsn, f"select pgdurable.cancel_response('{response_id}');") == "in_progress"
    ended = psql(
        dsn,
        "select count(*) from pgdurable.take_over_responses('me', array['default'], 9,"
        " interval '10 seconds', array['agent']);",
    )
    assert ended == "0"
    assert (await state(db, response_id))["status"] == "cancelled"


@needs_psql
async def test_a_refusal_tells_a_person_what_and_what_to_do(dsn: str) -> None:
    said = psql(
        dsn, "\\set VERBOSITY verbose\nselect pgdurable.cancel_response('resp_x');", fails=True
    )
    assert "PD001" in said and "'resp_x' not found" in said
    assert "HINT:  select * from pgdurable.response_overview lists the responses" in said


@needs_psql
async def test_a_finished_one_is_retried_by_hand(dsn: str, db: Conn) -> None:
    said = psql(
        dsn,
        """
        select pgdurable.enqueue_response('{"input":"hi"}') as id \\gset
        select pgdurable.cancel_response(:'id');
        select pgdurable.retry_response(:'id') as again \\gset
        select status, retried_from = :'id' from pgdurable.responses where response_id = :'again';
        """,
    )
    assert said.splitlines() == ["cancelled", "queued|t"]


@needs_psql
async def test_functions_and_views_explain_themselves(dsn: str) -> None:
    described = psql(dsn, "\\df+ pgdurable.claim_responses\n\\dv+ pgdurable.*")
    assert "Take the lease on up to p_limit queued responses" in described
    assert "the stuck ones" in described
