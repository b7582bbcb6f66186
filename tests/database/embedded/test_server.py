"""Start, share, stop and mend one server per home."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import psycopg
import pytest

from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres, EmbeddedPostgresError
from pgdurable.database.embedded.postmaster import PidFile, Postmaster
from tests.support.processes import Process, python
from tests.support.waiting import wait_until_sync

USER = """
import sys, time
from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres
with EmbeddedPostgres(sys.argv[1], settings=FAST_SETTINGS) as server:
    print("started" if server.started_here else "joined", flush=True)
    time.sleep(float(sys.argv[2]))
print("left", flush=True)
"""
FOR_EVER = "600"


def open_server(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home, settings=FAST_SETTINGS)


def user_process(home: Path, stays: str) -> Process:
    return python(USER, str(home), stays)


def running(home: Path) -> PidFile | None:
    found = Postmaster(home / "data", home / "run").read()
    return found if found and found.live else None


def kill_postmaster(home: Path) -> None:
    before = running(home)
    assert before
    os.kill(before.pid, signal.SIGKILL)
    wait_until_sync(lambda: running(home) is None, what="the postmaster to be gone")


def test_start_makes_the_database_and_close_stops_the_server(home: Path) -> None:
    with open_server(home) as server:
        assert server.started_here
        assert running(home)
        with psycopg.connect(server.dsn()) as conn:
            assert conn.execute("select current_database()").fetchone() == ("pgdurable",)
    assert running(home) is None


def test_data_survives_a_stop(home: Path) -> None:
    with open_server(home) as server, psycopg.connect(server.dsn()) as conn:
        conn.execute("create table kept as select 42 as n")
    with open_server(home) as server, psycopg.connect(server.dsn()) as conn:
        assert conn.execute("select n from kept").fetchone() == (42,)


def test_others_may_not_read_the_data_or_the_socket(home: Path) -> None:
    with open_server(home):
        for folder in (home / "data", home / "run"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_user_joins_and_the_last_one_out_stops_the_server(home: Path) -> None:
    first, second = open_server(home), open_server(home)
    first.start()
    second.start()
    assert (first.started_here, second.started_here) == (True, False)
    first.close()
    with psycopg.connect(second.dsn()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    second.close()
    assert running(home) is None


def test_closing_twice_or_unopened_does_nothing(home: Path) -> None:
    server = open_server(home)
    server.close()
    with server:
        pass
    server.close()
    assert running(home) is None


def test_keep_running_leaves_the_server_for_the_next_user(home: Path) -> None:
    with EmbeddedPostgres(home, settings=FAST_SETTINGS, keep_running=True):
        pass
    assert running(home)
    with open_server(home) as server:
        assert not server.started_here
    assert running(home) is None


def test_four_processes_at_once_on_an_empty_home_share_one_server(home: Path) -> None:
    users = [user_process(home, FOR_EVER) for _ in range(4)]
    try:
        said = [user.wait_for("ed\n") for user in users]
        assert sorted(said) == ["joined\n"] * 3 + ["started\n"]
    finally:
        for user in users:
            user.__exit__(None, None, None)
    assert running(home), "nobody left in peace, so nobody stopped it"


def test_a_killed_user_counts_as_gone(home: Path) -> None:
    with user_process(home, FOR_EVER) as killed:
        killed.wait_for("started")
        with open_server(home) as server:
            assert not server.started_here
            killed.kill()
    assert running(home) is None


def test_starts_again_after_the_postmaster_was_killed(home: Path) -> None:
    with open_server(home) as server:
        with psycopg.connect(server.dsn()) as conn:
            conn.execute("create table kept as select generate_series(1, 1000) as n")
        kill_postmaster(home)
        with open_server(home) as again, psycopg.connect(again.dsn()) as conn:
            assert again.started_here
            assert conn.execute("select count(*) from kept").fetchone() == (1000,)


@pytest.mark.parametrize("in_the_lock", ["this process", "a number nobody has"])
def test_lock_files_of_a_dead_server_do_not_keep_it_from_starting(
    home: Path, in_the_lock: str
) -> None:
    with open_server(home):
        pass
    pid = os.getpid() if in_the_lock == "this process" else 2**22 + 1
    (home / "data" / "postmaster.pid").write_text(
        f"{pid}\n{home / 'data'}\n1\n5432\n{home / 'run'}\n\n0 0\nready\n"
    )
    (home / "run" / ".s.PGSQL.5432.lock").write_text(f"{pid}\n{home / 'data'}\n1\n5432\n")
    with open_server(home) as server, psycopg.connect(server.dsn()) as conn:
        assert server.started_here
        assert conn.execute("select 1").fetchone() == (1,)


def test_a_server_whose_socket_was_deleted_is_started_again(home: Path) -> None:
    with open_server(home):
        before = running(home)
        (home / "run" / ".s.PGSQL.5432").unlink()
        with open_server(home) as again, psycopg.connect(again.dsn()) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
            after = running(home)
    assert before and after and before.pid != after.pid


def test_an_interrupted_initdb_leaves_nothing_that_harms(home: Path) -> None:
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18\n")
    with open_server(home) as server, psycopg.connect(server.dsn()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    assert not (home / "data.new").exists()


def test_a_long_path_gets_its_socket_elsewhere(home: Path) -> None:
    deep = home / ("deep" * 20)
    with open_server(deep) as server, psycopg.connect(server.dsn()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
        assert len(os.fsencode(server.run)) < 80
    server.run.rmdir()


def test_a_home_that_cannot_be_made_is_an_error_that_names_it() -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"/dev/null/x.*PGDURABLE_HOME"):
        open_server(Path("/dev/null/x")).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server runs as that user")
def test_a_home_the_servers_account_may_not_enter_is_an_error_that_names_it(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=f"may not enter {closed}"):
        open_server(closed / "home").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_starts_a_server_too(home: Path) -> None:
    os.chown(home, 65534, 65534)
    imports = "import os, pgdurable.database.embedded"
    code = f"{imports}; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n{USER}"
    with python(code, str(home), "0", env={"HOME": str(home)}) as user:
        user.wait_for("left")
        assert user.wait() == 0
    assert (home / "data" / "PG_VERSION").stat().st_uid == 65534
