"""`pgdurable demo`, as a new user runs it; and that nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.cli.command import ROOT, lives, pgdurable, processes_naming
from tests.cli.conftest import home as home
from tests.support.processes import Process

ALL_WORDS = r"All 41 words arrived, once each, as events 0 to \d+ without a gap\."


@pytest.fixture
def temp(home: Path) -> Iterator[dict[str, str]]:
    """The demo's environment; at the end, nothing of it runs and nothing of it is on disk."""
    yield {"TMPDIR": str(home)}
    assert processes_naming(str(home)) == []
    assert list(home.iterdir()) == []


def pids(output: str) -> list[int]:
    found = re.search(r"server: pid (\d+), workers: pids (\d+) and (\d+)", output)
    assert found is not None, output
    return [int(pid) for pid in found.groups()]


def assert_told(output: str) -> None:
    """The whole story, in its order."""
    steps = [
        r"background=True, stream=True",
        r"\| Every word you read here",
        r"kill -9 \d+: worker \d",
        r"starting_after=\d+",
        r"It went on \d+\.\d s after the kill, in mid-sentence",
        r"1 +claim .* lost",
        r"2 +takeover .* completed",
        ALL_WORDS,
        r"Everything that was started has been stopped\.",
    ]
    assert re.search("(?s)" + ".*".join(steps), output), output
    victim = re.search(r"kill -9 (\d+)", output)
    assert victim is not None and int(victim[1]) in pids(output)[1:]


def test_the_demo_shows_the_main_job_and_leaves_nothing_running(temp: dict[str, str]) -> None:
    start = time.monotonic()
    with pgdurable("demo", env=temp) as demo:
        assert demo.wait(60) == 0, demo.output()
        assert_told(demo.output())
        assert not [pid for pid in pids(demo.output()) if lives(pid)]
    assert time.monotonic() - start < 25


def test_the_demo_runs_on_a_database_given_by_dsn(temp: dict[str, str], empty_dsn: str) -> None:
    with pgdurable("demo", "--dsn", empty_dsn, env=temp) as demo:
        assert demo.wait(60) == 0, demo.output()
        assert_told(demo.output())
        assert "throw-away Postgres" not in demo.output()
    with psycopg.connect(empty_dsn) as conn:
        rows = conn.execute(
            "select r.status, r.attempt, r.queue like 'demo-%' from pgdurable.responses as r"
        ).fetchall()
    assert rows == [("completed", 2, True)]


def test_the_demo_does_not_touch_a_database_it_was_not_given(
    temp: dict[str, str], empty_dsn: str
) -> None:
    with pgdurable("demo", dsn=empty_dsn, env=temp | {"DATABASE_URL": empty_dsn}) as demo:
        demo.wait_for("A background stream")
        demo.send(signal.SIGINT)
        demo.wait()
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("select to_regnamespace('pgdurable')").fetchone() == (None,)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["Creating the schema", "A background stream", "kill -9"])
def test_an_interrupted_demo_leaves_nothing_running(
    moment: str, signum: signal.Signals, temp: dict[str, str]
) -> None:
    with pgdurable("demo", env=temp) as demo:
        demo.wait_for(moment)
        demo.send(signum)
        assert demo.wait() == 1, demo.output()
        assert "Traceback" not in demo.output()
        if "server: pid" in demo.output():
            assert not [pid for pid in pids(demo.output()) if lives(pid)]


@pytest.mark.parametrize(
    "story",
    [
        pytest.param("try: sleep()\n    except BaseException: sleep()", id="swallowed"),
        pytest.param("exec('sleep()')", id="through exec"),
    ],
)
def test_an_interrupt_ends_the_demo_whatever_the_code_it_meets_makes_of_it(
    story: str, temp: dict[str, str], tmp_path: Path, empty_dsn: str
) -> None:
    # As a module: only there does Python end by SIGINT after one that has passed through exec().
    (tmp_path / "staged.py").write_text(
        "import time\n"
        "from pgdurable_cli import demo, main\n"
        "def sleep():\n"
        "    print('asleep', flush=True)\n"
        "    time.sleep(60)\n"
        "def tell(database, children):\n"
        f"    {story}\n"
        "demo.tell = tell\n"
        f"main.main(['demo', '--dsn', {empty_dsn!r}], prog_name='pgdurable')\n"
    )
    env = temp | {"PYTHONPATH": str(tmp_path)}
    with Process(sys.executable, "-m", "staged", env=env, cwd=str(ROOT)) as demo:
        demo.wait_for("asleep")
        demo.send(signal.SIGINT)
        assert demo.wait(20) == 1, demo.output()


def test_a_demo_that_fails_says_why_and_leaves_nothing_running(temp: dict[str, str]) -> None:
    with pgdurable("demo", env=temp) as demo:
        server, *_ = pids(demo.wait_for("workers: pids"))
        os.kill(server, signal.SIGKILL)
        assert demo.wait() == 1
        assert not [pid for pid in pids(demo.output()) if lives(pid)]


def test_without_the_openai_package_it_says_what_to_install(temp: dict[str, str]) -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from pgdurable_cli.main import main; main(['demo'], prog_name='pgdurable')"
    )
    with Process(sys.executable, "-c", code, env=temp, cwd=str(ROOT)) as demo:
        assert demo.wait() == 1
        assert "pip install 'pgdurable[demo]'" in demo.output()
