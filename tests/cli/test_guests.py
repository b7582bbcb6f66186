"""What a handler may do to its process: fork, exit, start tools, patch the loop, configure logs."""

from __future__ import annotations

import os
import signal
import urllib.error

import pytest

from tests.cli.command import free_port, lives
from tests.cli.responses import Connection
from tests.cli.test_run import address, fetch, running
from tests.support.inside import text_of
from tests.support.processes import Process
from tests.support.waiting import wait_until_sync

TARGET = "tests.cli.apps.guests:server"
LOOPS = ["asyncio", "uvloop"]


def told(process: Process, what: str) -> str:
    status, answer = fetch(f"{address(process)}/responses", {"input": what})
    assert (status, answer["status"]) == (200, "completed"), process.output()
    return text_of(answer)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_forked_child_holds_neither_the_port_nor_a_signal(dsn: str, loop: str) -> None:
    args = (TARGET, "--port", str(free_port()), "--loop", loop)
    with running(*args, dsn=dsn) as process:
        child = int(told(process, "leave_a_child"))
        try:
            process.kill()
            assert lives(child)
            with running(*args, dsn=dsn) as successor:
                assert told(successor, "use_a_pool") == "0 1 2 3"
            os.kill(child, signal.SIGTERM)
            wait_until_sync(lambda: not lives(child))
        finally:
            if lives(child):
                os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("target", [TARGET, "tests.cli.apps.guests:threads"])
def test_a_forked_child_that_exits_is_no_second_server(dsn: str, target: str) -> None:
    with running(target, "--port", "0", dsn=dsn) as process:
        assert told(process, "leave_from_a_child") == "begun 7"
        assert "handler_failed" not in process.output()
        assert process.output().count("response_finished") == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_forked_child_that_goes_on_ends_without_a_word(dsn: str, loop: str) -> None:
    with running(TARGET, "--port", "0", "--loop", loop, dsn=dsn) as process:
        assert told(process, "go_on_in_a_child") == "begun ended"
        assert process.output().count("response_finished") == 1


def test_a_forked_child_cannot_end_the_sessions_of_its_parent(dsn: str, db: Connection) -> None:
    sessions = (
        "select pid from pg_stat_activity where datname = current_database()"
        " and application_name like 'pgdurable%' order by pid"
    )
    with running(TARGET, "--port", "0", dsn=dsn) as process:
        told(process, "use_a_pool")
        process.wait_for("listener_connected")
        before = db.execute(sessions).fetchall()
        assert told(process, "hang_up_in_a_child") == "done"
        assert told(process, "use_a_pool") == "0 1 2 3"
        assert set(before) <= set(db.execute(sessions).fetchall())
        assert "_lost" not in process.output()


def test_a_tool_that_reads_stdin_finds_its_end(dsn: str) -> None:
    with running(TARGET, "--processes", "2", "--port", str(free_port()), dsn=dsn) as parent:
        parent.wait_for("serving http")
        assert told(parent, "read_stdin") == "0 ''"


def test_an_agent_that_patches_asyncio_runs_on_its_own_loop(dsn: str) -> None:
    with running(TARGET, "--port", "0", "--loop", "asyncio", dsn=dsn) as process:
        assert told(process, "patch") == "nested"
        assert told(process, "use_a_pool") == "0 1 2 3"
        process.send(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_that_a_handler_has_left_behind_does_not_end_the_process(
    dsn: str, loop: str, kind: str
) -> None:
    with running(TARGET, "--port", "0", "--loop", loop, dsn=dsn) as process:
        assert told(process, f"raise_later {kind}") == "said"
        process.wait_for("task_failed")
        assert told(process, "use_a_pool") == "0 1 2 3"
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert process.output().count("worker_stopped") == 1


def test_logging_that_a_handler_configures_does_not_silence_ours(dsn: str) -> None:
    with running(TARGET, "--port", "0", dsn=dsn) as process:
        url = f"{address(process)}/responses"
        with pytest.raises(urllib.error.HTTPError):
            fetch(url, {"input": "configure_logging"})
        assert "ValueError: after dictConfig" in process.output()
