"""What the documents say is there, and what is there is in the documents."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from pgdurable import LongRunningAgentServer, LongRunningSettings
from pgdurable.errors import BY_SQLSTATE
from pgdurable.logs import LogEvent
from pgdurable_cli.main import main
from tests.repo.markdown import ROOT, anchors, blocks, links, names, rows, section

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "sql").rglob("*.md")])


def read(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def sources(*folders: str) -> dict[Path, str]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 10
    return {path: path.read_text("utf-8") for path in found}


def test_every_command_has_its_section_with_exactly_its_options() -> None:
    page = read("cli.md")
    documented = re.findall(r"^## pgdurable (\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(main.commands)
    for name, command in main.commands.items():
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        wanted = {opt for option in options for opt in option.opts}
        told = {name.split()[0] for name in names(section(page, f"pgdurable {name}"))}
        assert told == wanted, name


def test_a_default_of_a_command_is_the_documented_one() -> None:
    page, compared = read("cli.md"), 0
    for name, command in main.commands.items():
        table = rows(section(page, f"pgdurable {name}"))
        told = {row[0].split("`")[1]: row[1].strip("`") for row in table if "`" in row[0]}
        for option in command.params:
            if isinstance(option, click.Option) and type(option.default) in (str, int):
                assert told[option.opts[-1]] == str(option.default), option.name
                compared += 1
    assert compared >= 6


def test_every_setting_is_documented_with_its_default() -> None:
    told = {
        row[0].strip("`"): row[1]
        for row in rows(section(read("configuration.md"), "Settings"))
        if row[0].startswith("`")
    }
    wanted = {
        name: str(field.default) for name, field in LongRunningSettings.__dataclass_fields__.items()
    }
    assert told == wanted


def test_every_parameter_of_the_constructor_is_documented() -> None:
    code = LongRunningAgentServer.__init__.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    parameters = set(code.co_varnames[1:count])
    page = section(read("configuration.md"), "The server")
    assert parameters - set(LongRunningSettings.__dataclass_fields__) == set(names(page))


def test_every_environment_variable_is_documented_and_nothing_else() -> None:
    asked = (
        r"environ(?:ment)?(?:\.get|\.setdefault)?[\(\[]\s*\"(\w+)\""
        r"|\(environment, \"(\w+)\"|_VARIABLE = \"(\w+)\""
    )
    used = {
        name
        for text in sources("pgdurable", "cli").values()
        for groups in re.findall(asked, text)
        for name in groups
        if name
    }
    assert "PGDURABLE_DSN" in used
    assert set(names(section(read("configuration.md"), "Environment variables"))) == used


def test_every_sqlstate_is_documented_with_its_class() -> None:
    table = rows(section(read("guarantees.md"), "Refusals"))
    told = {row[0].strip("`"): row[1].strip("`") for row in table if row[0].startswith("`PD")}
    assert told == {sqlstate: cls.__name__ for sqlstate, cls in BY_SQLSTATE.items()}


def test_every_log_event_that_is_logged_is_documented_and_no_other() -> None:
    logged = {
        LogEvent[name]
        for text in sources("pgdurable", "cli").values()
        for name in re.findall(r"\bLogEvent\.([A-Z_]+)\b", text)
    }
    assert len(logged) > 20
    assert sorted(names(read("logging.md"))) == sorted(map(str, logged))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    broken = []
    for link in links(text):
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (fragment and fragment not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def test_the_tests_that_the_guarantees_name_are_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", read("guarantees.md"))
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make tells what it would do")
@pytest.mark.parametrize(
    ("target", "command"),
    [("demo", "pgdurable demo"), ("test", "python -m pytest -n 2 --dist loadfile")],
)
def test_the_two_commands_of_the_readme_do_what_it_says(target: str, command: str) -> None:
    assert f"make {target} " in (ROOT / "README.md").read_text("utf-8")
    # Not the make that may be running this: its options would be inherited.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    argv = ["make", "--no-print-directory", "-n", target]
    told = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    # A bare command is not found on macOS, whose make does not search the PATH that it exports.
    assert re.fullmatch(rf"(env|\S*uv run) {command}", told.stdout.splitlines()[-1].strip())


def test_python_in_the_documents_is_python() -> None:
    found = [block for page in PAGES for block in blocks(page.read_text("utf-8"))]
    code = [block.text for block in found if block.language == "python"]
    assert len(code) > 5
    for text in code:
        ast.parse(text)
