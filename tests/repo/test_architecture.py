"""docs/architecture.md: the ways through the house are the code's, and its walls stand."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.markdown import ROOT
from tests.support.sql_sources import functions

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
STEP = re.compile(r"^- `(?P<file>[\w/.]+):(?P<name>[\w.]+)`(?: \((?P<travel>.+)\))?$", re.MULTILINE)
WALKS = {
    title: list(STEP.finditer(text))
    for title, text in re.findall(r"^### (.*?)$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def source(file: str, name: str) -> str:
    """The text of a function; fails where there is none."""
    if file.endswith(".sql"):
        (found,) = [f.body for f in functions(ROOT / file) if f.name == name]
        return found
    nodes: list[ast.stmt] = ast.parse((ROOT / file).read_text("utf-8")).body
    text = (ROOT / file).read_text("utf-8")
    for part in name.split("."):
        (node,) = [n for n in nodes if getattr(n, "name", None) == part]
        nodes = getattr(node, "body", [])
    found_text = ast.get_source_segment(text, node)
    assert found_text is not None
    return found_text


@pytest.mark.parametrize("title", WALKS)
def test_each_step_of_a_way_is_there_and_calls_the_next_one(title: str) -> None:
    steps = WALKS[title]
    assert len(steps) >= 7
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        text = source(step["file"], step["name"])
        if after is None or step["travel"]:
            continue
        called = after["name"].rpartition(".")[2]
        assert re.search(rf"\b{called}\b", text), f"{step['name']} does not name {called}"


def test_there_are_the_four_ways() -> None:
    assert len(WALKS) == 4


@pytest.mark.parametrize("room", ["agent", "envelope", "database", "requests", "events"])
def test_every_room_is_described(room: str) -> None:
    assert f"| `{room}/` |" in PAGE


INJECTED = {
    "the pen imports the door": (
        "events/enqueuer.py",
        "from pgdurable.server import app\n",
        "the house, from the door down to the ground",
    ),
    "a call of a handler speaks to Postgres": (
        "worker/call.py",
        "import psycopg\n",
        "policy is pure: no database, no network",
    ),
    "a module that no layer names": (
        "helpers.py",
        '"""Nobody knows this one."""\n',
        "the house, from the door down to the ground",
    ),
}


@pytest.mark.parametrize("what", INJECTED)
def test_the_contract_refuses(what: str, tmp_path: Path) -> None:
    file, line, contract = INJECTED[what]
    shutil.copytree(ROOT / "pgdurable", tmp_path / "pgdurable")
    shutil.copytree(ROOT / "cli" / "pgdurable_cli", tmp_path / "pgdurable_cli")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert lint(tmp_path).returncode == 0
    path = tmp_path / "pgdurable" / file
    path.write_text((path.read_text("utf-8") if path.exists() else "") + line)
    done = lint(tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert contract in said and Path(file).stem in said


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hooks_of_a_commit_run_what_make_lint_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    entries = re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE)
    lint_target = (ROOT / "Makefile").read_text("utf-8").partition("\nlint:")[2]
    commands = re.findall(r"^\t\$\(RUN\) (.+)$", lint_target.partition("\n\n")[0], re.MULTILINE)
    assert entries == commands
