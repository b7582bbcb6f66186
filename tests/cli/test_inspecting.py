"""ls, show, tail, cancel, retry, prune."""

from __future__ import annotations

import json
import signal
from datetime import timedelta

import pytest

from tests.cli.command import pgdurable, refused, said
from tests.cli.responses import Connection, enqueue, overview, wait_for_events, wait_for_status
from tests.support.clock import Clock

SLOW = "tests.cli.apps.slow:agent"


def test_ls_lists_the_newest_first_and_filters(dsn: str, db: Connection) -> None:
    first, second = enqueue(db), enqueue(db)
    said("cancel", first, dsn=dsn)
    lines = said("ls", dsn=dsn)[0].splitlines()
    assert lines[0].split()[:4] == ["ID", "STATUS", "ATTEMPT", "EVENTS"]
    assert [line.split()[:2] for line in lines[1:]] == [[second, "queued"], [first, "cancelled"]]
    assert first in said("ls", "--status", "cancelled", dsn=dsn)[0]
    assert second not in said("ls", "--status", "cancelled", dsn=dsn)[0]
    assert len(said("ls", "--limit", "1", dsn=dsn)[0].splitlines()) == 2
    assert "No responses." in said("ls", "--queue", "other", dsn=dsn)[1]
    assert "'nope' is not one of" in refused("ls", "--status", "nope", dsn=dsn, status=2)


def test_a_dsn_on_the_command_line_wins(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    wrong = "postgresql://127.0.0.1:1/nothing"
    assert response_id in said("ls", "--dsn", dsn, dsn=wrong, env={"DATABASE_URL": wrong})[0]
    assert response_id in said("ls", dsn=dsn, env={"DATABASE_URL": wrong})[0]
    assert response_id in said("ls", env={"DATABASE_URL": dsn})[0]


def test_show_tells_where_it_stands_who_ran_it_and_its_last_events(
    dsn: str, db: Connection
) -> None:
    response_id = enqueue(db, "2")
    with pgdurable("run", SLOW, "--no-server", dsn=dsn):
        wait_for_status(db, response_id, "completed")
    out, _ = said("show", response_id, "--events", "2", dsn=dsn)
    assert "status            completed" in out and "agent             " in out
    (attempt,) = [line for line in out.splitlines() if line.startswith("1 ")]
    assert attempt.split()[1:3] == ["claim", "completed"]
    assert "last 2 of " in out and "response.completed" in out.splitlines()[-1]


def test_tail_prints_every_event_as_number_attempt_type_and_json(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "2")
    with pgdurable("run", SLOW, "--no-server", dsn=dsn):
        wait_for_status(db, response_id, "completed")
    rows = [line.split("\t") for line in said("tail", response_id, dsn=dsn)[0].splitlines()]
    assert [int(row[0]) for row in rows] == list(range(overview(db, response_id, "events")))
    assert all(json.loads(row[3])["type"] == row[2] for row in rows)
    after = said("tail", "--after", "3", response_id, dsn=dsn)[0].splitlines()
    assert [line.split("\t") for line in after] == rows[4:]
    for cursor in (rows[-1][0], "99999"):  # nothing to come: -f ends as well
        assert said("tail", "-f", "--after", cursor, response_id, dsn=dsn)[0] == ""


def test_tail_escapes_what_a_terminal_obeys_and_stays_json(dsn: str, db: Connection) -> None:
    said_by_client = "\x1b[2J \x85 \xa0 \u200d \U000e0001 \U0001f468"
    response_id = enqueue(db, said_by_client)
    db.execute(
        "update pgdurable.events set body = json_build_object('delta', %s::text)"
        " where response_id = %s",
        [said_by_client, response_id],
    )
    for encoding in ("utf-8", "latin-1"):
        out, _ = said("tail", response_id, dsn=dsn, env={"PYTHONIOENCODING": encoding})
        assert all(c.isprintable() or c in "\t\n" for c in out)
        if encoding == "utf-8":
            assert json.loads(out.split("\t")[3]) == {"delta": said_by_client}


def test_tail_f_follows_to_the_end_and_listens_instead_of_polling(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "8")
    with pgdurable("tail", "-f", response_id, dsn=dsn) as tail:
        tail.wait_for("response.created")
        with pgdurable("run", SLOW, "--no-server", dsn=dsn):
            tail.wait_for("output_text.delta")
            # Its backstop reads every 5 s only; the eight words take 0.8 s.
            assert overview(db, response_id, "status") == "in_progress"
            assert tail.wait() == 0
        lines = tail.output().splitlines()
    assert lines[-1].split("\t")[2] == "response.completed"
    assert [int(line.split("\t")[0]) for line in lines] == list(range(len(lines)))


def test_tail_f_ends_when_the_response_is_deleted(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    with pgdurable("tail", "-f", response_id, dsn=dsn) as tail:
        tail.wait_for("response.created")
        db.execute("select pgdurable.delete_response(%s)", [response_id])
        assert tail.wait() == 1
        assert f"Response '{response_id}' not found." in tail.output()


def test_tail_f_stops_at_ctrl_c_without_a_traceback(dsn: str, db: Connection) -> None:
    with pgdurable("tail", "-f", enqueue(db), dsn=dsn) as tail:
        tail.wait_for("response.created")
        tail.send(signal.SIGINT)
        assert tail.wait() != 0
        assert "Traceback" not in tail.output()


def test_cancel_ends_a_queued_response_at_once(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    assert said("cancel", response_id, dsn=dsn)[0] == f"{response_id} is cancelled.\n"
    assert overview(db, response_id, "status") == "cancelled"
    assert "is already cancelled" in refused("cancel", response_id, dsn=dsn)


def test_cancel_reaches_the_worker_that_runs_it(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "600")
    with pgdurable("run", SLOW, "--no-server", dsn=dsn):
        wait_for_events(db, response_id, 6)
        assert "asked to stop" in said("cancel", response_id, dsn=dsn)[0]
        wait_for_status(db, response_id, "cancelled")


def test_cancel_says_so_when_the_worker_has_gone_silent(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    claim = "select pgdurable.claim_responses('gone', '{default}', 1, '0', '{agent}')"
    db.execute(claim)
    assert "its lease has expired" in said("cancel", response_id, dsn=dsn)[0]
    assert overview(db, response_id, "cancel_requested")


def test_retry_prints_the_id_of_a_new_response(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    assert "is still queued" in refused("retry", response_id, dsn=dsn)
    said("cancel", response_id, dsn=dsn)
    new_id = said("retry", response_id, dsn=dsn)[0].strip()
    assert new_id != response_id
    assert overview(db, new_id, "status") == "queued"


def test_people_may_touch_the_responses_of_every_principal(dsn: str, db: Connection) -> None:
    response_id = enqueue(db)
    db.execute(
        "update pgdurable.responses set principal = 'ada' where response_id = %s", [response_id]
    )
    assert "ada" in said("show", response_id, dsn=dsn)[0]
    said("cancel", response_id, dsn=dsn)
    assert len(said("retry", response_id, dsn=dsn)[0].strip()) == len(response_id)


def test_prune_deletes_what_is_old_enough_and_finished(
    dsn: str, db: Connection, clock: Clock
) -> None:
    old, waiting = enqueue(db), enqueue(db)
    said("cancel", old, dsn=dsn)
    clock.advance(timedelta(days=31))
    assert said("prune", "--older-than", "5w", dsn=dsn)[0] == "Deleted 0 responses.\n"
    assert said("prune", "--older-than", "30d", dsn=dsn)[0] == "Deleted 1 response.\n"
    assert "not found" in refused("show", old, dsn=dsn)
    assert overview(db, waiting, "status") == "queued"


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1e9w", "9999999w", "1d; drop"])
def test_an_age_that_is_none_is_refused(age: str, dsn: str) -> None:
    err = refused("prune", f"--older-than={age}", dsn=dsn, status=2)
    assert "is not a duration" in err or "100 years" in err


@pytest.mark.parametrize("command", ["show", "tail", "cancel", "retry"])
def test_an_unknown_id_is_not_found(command: str, dsn: str) -> None:
    assert "not found" in refused(command, "resp_" + "0" * 32, dsn=dsn)


@pytest.mark.parametrize("bad", ["resp_123", "../../etc", "resp_" + "0" * 32 + "\n", ""])
def test_what_cannot_be_an_id_is_refused_without_asking(bad: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/nothing"
    assert "is not a response id" in refused("show", bad, dsn=nowhere, status=2)
