"""`pgdurable run`: start, stop, and everything that may come between."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdurable import LongRunningSettings
from pgdurable.database.embedded import EmbeddedPostgres
from tests.cli.command import free_port, lives, pgdurable, processes_naming
from tests.cli.responses import (
    Connection,
    enqueue,
    overview,
    wait_for_events,
    wait_for_status,
)
from tests.support.processes import Process
from tests.support.waiting import wait_until_sync

SLOW = "tests.cli.apps.slow"
QUICK = "tests.cli.apps.quick:server"


@contextmanager
def running(*args: str, dsn: str = "", env: dict[str, str] | None = None) -> Iterator[Process]:
    """`pgdurable run`, once it says that it works or serves."""
    with pgdurable("run", *args, dsn=dsn, env=env) as process:
        process.wait_for("Ctrl-C stops it.")
        yield process


def address(process: Process) -> str:
    found = re.search(r"serving (http://\S+)/responses", process.output())
    assert found is not None
    return found[1]


def fetch(url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, json.loads(answer.read())


def seconds_to_end(process: Process) -> float:
    start = time.monotonic()
    process.wait()
    return time.monotonic() - start


@pytest.mark.parametrize("target", [SLOW, f"{SLOW}:agent", "tests.cli.apps.decorated", QUICK])
def test_a_server_an_agent_or_decorated_functions_are_served(target: str, dsn: str) -> None:
    with running(target, "--port", "0", dsn=dsn) as process:
        status, answer = fetch(f"{address(process)}/responses", {"input": "2"})
    assert status == 200
    assert answer["status"] == "completed" and answer["output"]


def test_a_server_without_a_worker_leaves_the_work_to_one_without_a_server(
    dsn: str, db: Connection
) -> None:
    with running(SLOW, "--no-worker", "--port", "0", dsn=dsn) as server:
        assert "without a worker" in server.output()
        _, answer = fetch(f"{address(server)}/responses", {"input": "2", "background": True})
        assert overview(db, answer["id"], "status") == "queued"
        with running(SLOW, "--no-server", dsn=dsn) as worker:
            assert "server_started" not in worker.output()
            wait_for_status(db, answer["id"], "completed")


def test_queue_and_concurrency_on_the_command_line_win(dsn: str, db: Connection) -> None:
    args = (SLOW, "--queue", "night", "--concurrency", "2", "--port", "0")
    with running(*args, dsn=dsn) as process:
        assert "working on 2 responses at a time from queue night" in process.output()
        _, answer = fetch(f"{address(process)}/responses", {"input": "2", "background": True})
        assert overview(db, answer["id"], "queue") == "night"
        wait_for_status(db, answer["id"], "completed")


def test_sigterm_drains_and_hands_back_what_is_not_finished(dsn: str, db: Connection) -> None:
    long = enqueue(db, "600")
    with running(QUICK, "--no-server", dsn=dsn) as process:
        wait_for_events(db, long, 6)
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert "worker_draining" in process.output() and "Traceback" not in process.output()
    assert overview(db, long, "status") == "queued"
    assert overview(db, long, "failed_attempts") == "0/3"
    outcome = db.execute("select outcome from pgdurable.attempts").fetchall()
    assert outcome == [("released",)]


def test_sigterm_lets_what_is_nearly_finished_finish(dsn: str, db: Connection) -> None:
    short = enqueue(db, "15")
    with running(f"{SLOW}:agent", "--no-server", dsn=dsn) as process:
        wait_for_events(db, short, 6)
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert overview(db, short, "status") == "completed"
    assert overview(db, short, "attempt") == 1


def test_ctrl_c_drains_as_well(dsn: str) -> None:
    with running(QUICK, "--port", "0", dsn=dsn) as process:
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert "Traceback" not in process.output()


def test_a_second_sigterm_ends_at_once(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "600")
    with running(f"{SLOW}:agent", "--no-server", dsn=dsn) as process:
        wait_for_events(db, response_id, 6)
        process.send(signal.SIGTERM)
        process.wait_for("worker_draining")
        process.send(signal.SIGTERM)
        assert seconds_to_end(process) < 2, "the drain alone would take 5 s"
        assert process.returncode == 128 + signal.SIGTERM
    assert overview(db, response_id, "status") == "in_progress", "its lease runs out"


def test_a_second_sigterm_ends_a_process_whose_agent_blocks_the_loop(
    dsn: str, db: Connection
) -> None:
    enqueue(db)

    def ended(process: Process) -> bool:
        process.send(signal.SIGTERM)  # two that arrive together are one, so: until it has ended
        return process.returncode is not None

    with running("tests.cli.apps.stubborn:blocking_server", "--no-server", dsn=dsn) as process:
        process.wait_for("now it blocks")
        wait_until_sync(lambda: ended(process), timeout=5)
        assert process.returncode == 128 + signal.SIGTERM


def test_one_sigterm_is_enough_even_then_only_later(dsn: str, db: Connection) -> None:
    enqueue(db)
    with running("tests.cli.apps.stubborn:blocking_server", "--no-server", dsn=dsn) as process:
        process.wait_for("now it blocks")
        process.send(signal.SIGTERM)
        # 0.5 s of drain, 1.5 s of clean-up, and 10 s on top.
        assert 11 < seconds_to_end(process) < 15
        assert process.returncode == 1
        assert "not stopped 12 s after it was told to" in process.output()


def test_an_agent_that_ignores_its_cancellation_does_not_keep_the_process(
    dsn: str, db: Connection
) -> None:
    response_id = enqueue(db)
    with running("tests.cli.apps.stubborn:ignoring_server", "--no-server", dsn=dsn) as process:
        wait_for_events(db, response_id, 5)
        process.send(signal.SIGTERM)
        assert seconds_to_end(process) < 10
        assert process.returncode == 0


def test_the_end_is_bounded_when_postgres_is_gone(home: Path) -> None:
    with EmbeddedPostgres(home) as postgres:
        args = (QUICK, "--port", "0", "--migrate", "--dsn", postgres.dsn())
        with running(*args) as process:
            fetch(f"{address(process)}/responses", {"input": "600", "background": True})
            process.wait_for("response_claimed")
            pid = int((postgres.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            wait_until_sync(lambda: not lives(pid))
            process.send(signal.SIGTERM)
            # Grace: 0.2 s of drain and 2 s of clean-up; and 5 s on top.
            assert seconds_to_end(process) < 7.2
            assert "Traceback" not in process.output()


def test_without_a_dsn_it_starts_migrates_and_stops_the_embedded_postgres(home: Path) -> None:
    env = {"PGDURABLE_HOME": str(home)}
    with running(QUICK, "--port", "0", env=env) as process:
        assert f"using the embedded Postgres in {home}" in process.output()
        assert fetch(f"{address(process)}/responses", {"input": "2"})[0] == 200
        told = re.search(r"psql '(.+)'", process.output())
        assert told is not None
        with psycopg.connect(told[1]) as psql:
            assert psql.execute("select status from pgdurable.response_overview").fetchall() == [
                ("completed",)
            ]
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert processes_naming(str(home)) == []


def test_migrate_creates_the_schema_first(empty_dsn: str) -> None:
    with running(QUICK, "--no-server", "--migrate", dsn=empty_dsn) as process:
        assert "schema_migrated found=missing" in process.output()


def test_an_address_that_others_reach_is_warned_about(dsn: str) -> None:
    with running(QUICK, "--host", "0.0.0.0", "--port", "0", dsn=dsn) as process:
        assert "without authentication" in process.output()
    with running(QUICK, "--port", "0", dsn=dsn) as process:
        assert "without authentication" not in process.output()


def test_a_process_keeps_to_the_connections_that_the_documents_count(
    dsn: str, db: Connection
) -> None:
    with (
        running(f"{SLOW}:agent", "--port", "0", dsn=dsn) as process,
        ThreadPoolExecutor(16) as many,
    ):
        url = f"{address(process)}/responses"
        answers = many.map(lambda _: fetch(url, {"input": "3"}), range(48))
        assert all(status == 200 for status, _ in answers)
        names = db.execute(
            "select application_name from pg_stat_activity"
            " where datname = current_database() and application_name like 'pgdurable%'"
        ).fetchall()
    own = [name for (name,) in names if name != "pgdurable"]
    assert len(own) == len(set(own)) <= 7, own
    assert 1 <= len(names) - len(own) <= LongRunningSettings().pool_size


def test_the_log_level_is_kept(dsn: str) -> None:
    with running(QUICK, "--no-server", "--log-level", "error", dsn=dsn) as process:
        process.send(signal.SIGTERM)
        process.wait()
        assert " INFO " not in process.output()


def children(process: Process) -> list[int]:
    """The pids of the processes that share the work."""
    found = re.findall(r"worker_started worker_id=\S*-(\d+)-\w+", process.output())
    return [int(pid) for pid in found]


def test_processes_share_a_port_and_one_that_dies_is_replaced(dsn: str, db: Connection) -> None:
    port = str(free_port())
    args = (QUICK, "--processes", "2", "--port", port)
    with running(*args, dsn=dsn) as parent:
        wait_until_sync(lambda: len(children(parent)) == 2)
        victim, survivor = children(parent)
        os.kill(victim, signal.SIGKILL)
        parent.wait_for(f"(pid {victim}) was ended by SIGKILL.")
        wait_until_sync(lambda: len(children(parent)) == 3)
        assert fetch(f"http://127.0.0.1:{port}/responses", {"input": "2"})[0] == 200
        parent.send(signal.SIGTERM)
        assert parent.wait() == 0
        assert parent.output().count("worker_stopped") == 2
        assert not [pid for pid in children(parent) if lives(pid)]
        assert lives(os.getpid()) and survivor in children(parent)


def test_processes_listen_where_the_command_line_says(dsn: str) -> None:
    args = ("--processes", "2", "--no-server", "--listen-dsn", dsn)
    with running("tests.cli.apps.quick:deaf", *args, dsn=dsn) as parent:
        wait_until_sync(lambda: parent.output().count("listener_connected") == 2)
        assert "listener_unavailable" not in parent.output()


def test_a_parent_passes_the_second_signal_on(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "600")
    args = (f"{SLOW}:agent", "--processes", "2", "--no-server")
    with running(*args, dsn=dsn) as parent:
        wait_until_sync(lambda: len(children(parent)) == 2)
        wait_for_events(db, response_id, 6)
        parent.send(signal.SIGTERM)
        parent.wait_for("worker_draining")
        parent.send(signal.SIGTERM)
        assert seconds_to_end(parent) < 3
        assert not [pid for pid in children(parent) if lives(pid)]


def test_a_stop_that_reaches_the_children_as_well_is_one_stop(dsn: str, db: Connection) -> None:
    response_id = enqueue(db, "600")
    with running(f"{SLOW}:agent", "--processes", "2", "--no-server", dsn=dsn) as parent:
        wait_until_sync(lambda: len(children(parent)) == 2)
        wait_for_events(db, response_id, 6)
        row = db.execute("select pid from pgdurable.worker_activity where in_progress > 0")
        (owner,) = row.fetchone() or (0,)
        os.kill(owner, signal.SIGTERM)  # as systemd does, to every process of a service
        parent.wait_for("worker_draining")
        parent.send(signal.SIGTERM)
        assert parent.wait() == 0
        assert parent.output().count("worker_stopped") == 2
    assert overview(db, response_id, "status") == "queued"


def test_processes_whose_parent_is_killed_stop_by_themselves(dsn: str) -> None:
    with running(QUICK, "--processes", "2", "--no-server", dsn=dsn) as parent:
        wait_until_sync(lambda: len(children(parent)) == 2)
        parent.kill()
        wait_until_sync(lambda: not any(lives(pid) for pid in children(parent)))
        assert parent.output().count("worker_stopped") == 2
