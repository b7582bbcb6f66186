"""One checker for what must hold after any fault: the log in the table, and what clients got."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from pgdurable.events import sse
from tests.crash.recording import Recording
from tests.support.grammar import TERMINALS, check_stream

Conn = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Row:
    """One stored event."""

    seq: int
    attempt: int
    type: str
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


@dataclass(frozen=True)
class Outcome:
    """How a response stands in the database."""

    status: str
    attempt: int
    failed_attempts: int
    last_seq: int
    log: list[Row]

    @property
    def terminal(self) -> dict[str, Any]:
        return self.log[-1].event


async def outcome(conn: Conn, response_id: str) -> Outcome:
    """What the tables say about it now."""
    state = await (
        await conn.execute(
            "select status, attempt, failed_attempts, last_seq from pgdurable.responses"
            " where response_id = %s",
            [response_id],
        )
    ).fetchone()
    assert state is not None, f"{response_id} is lost"
    rows = await (
        await conn.execute(
            "select seq, attempt, type, body::text from pgdurable.events"
            " where response_id = %s order by seq",
            [response_id],
        )
    ).fetchall()
    status, attempt, failed_attempts, last_seq = state
    log = [Row(seq, a, kind, body.encode()) for seq, a, kind, body in rows]
    return Outcome(status, attempt, failed_attempts, last_seq, log)


async def check_finished(conn: Conn, response_id: str, *, by_sql: bool = False) -> Outcome:
    """I1 to I5 for a finished response, and the grammar of its stream.

    `by_sql`: it was ended with no handler at hand, which leaves the parts of an item open.
    """
    found = await outcome(conn, response_id)
    log = found.log
    assert [row.seq for row in log] == list(range(len(log))), f"{response_id}: a gap"
    assert found.last_seq == len(log) - 1
    terminals = [row.seq for row in log if row.type in TERMINALS]
    assert terminals == [len(log) - 1], f"{response_id}: terminal events at {terminals}"
    assert found.status == log[-1].event["response"]["status"]
    _check_attempts(response_id, log)
    await _check_history(conn, response_id, found)
    if not by_sql:
        check_stream([{**row.event, "sequence_number": row.seq} for row in log])
    return found


def _check_attempts(response_id: str, log: list[Row]) -> None:
    """No event of an old attempt after the new one has begun; each begins with its marker."""
    attempts = [row.attempt for row in log]
    assert attempts == sorted(attempts), f"{response_id}: a zombie's event"
    for row in log:
        if row.type == "response.resumed":
            before = log[row.seq - 1].attempt
            assert row.event["attempt"] == row.attempt > before
            assert row.event["from_seq"] == row.seq


async def _check_history(conn: Conn, response_id: str, found: Outcome) -> None:
    rows = await (
        await conn.execute(
            "select attempt, worker_id, outcome from pgdurable.attempts"
            " where response_id = %s order by attempt",
            [response_id],
        )
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, found.attempt + 1))
    assert all(row[2] is not None for row in rows), f"{response_id}: {rows}"


def check_recording(recording: Recording, found: Outcome) -> None:
    """I3: what the client got over all its connections is the table, once, byte for byte."""
    expected = [
        (row.seq, sse.frame(recording.response_id, row.seq, row.body).removesuffix(b"\n\n"))
        for row in found.log
    ]
    assert recording.frames == expected


async def check_all(conn: Conn, recordings: Iterable[Recording]) -> list[Outcome]:
    """Both, for each of them."""
    outcomes = []
    for recording in recordings:
        found = await check_finished(conn, recording.response_id)
        check_recording(recording, found)
        outcomes.append(found)
    return outcomes
