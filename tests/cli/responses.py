"""Responses for commands to work on, made by SQL alone."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import TupleRow

from tests.support.waiting import wait_until_sync

Connection = psycopg.Connection[TupleRow]


def enqueue(db: Connection, content: str = "3") -> str:
    """A queued response."""
    row = db.execute(
        "select pgdurable.enqueue_response(json_build_object('input', %s::text))", [content]
    ).fetchone()
    assert row is not None
    return str(row[0])


def overview(db: Connection, response_id: str, column: str) -> Any:
    """One column of the view."""
    row = db.execute(
        "select to_jsonb(v) -> %s from pgdurable.response_overview as v where v.response_id = %s",
        [column, response_id],
    ).fetchone()
    assert row is not None
    return row[0]


def wait_for_status(db: Connection, response_id: str, status: str) -> None:
    """Until the response has this status."""
    wait_until_sync(
        lambda: overview(db, response_id, "status") == status, what=f"{response_id} {status}"
    )


def wait_for_events(db: Connection, response_id: str, count: int) -> None:
    """Until its log has at least so many events."""
    wait_until_sync(lambda: overview(db, response_id, "events") >= count, what=f"{count} events")
