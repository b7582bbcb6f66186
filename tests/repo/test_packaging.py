"""What is built holds what is needed, and nothing at a name that others may have."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> set[str]:
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    """Names without the folder that all of them are in."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def files(folder: str, pattern: str) -> set[str]:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}
    assert found, f"{folder} has no {pattern}"
    return found


def test_the_wheel_holds_every_sql_file_below_the_package(wheel: set[str]) -> None:
    wanted = {f"pgdurable/{name}" for name in files("sql", "*.sql")}
    assert wanted == {name for name in wheel if name.endswith(".sql")}


def test_the_wheel_holds_every_module_and_the_type_markers(wheel: set[str]) -> None:
    modules = files("pgdurable", "*.py") | files("cli", "*.py")
    assert {name.removeprefix("cli/") for name in modules} <= wheel
    assert {"pgdurable/py.typed", "pgdurable_cli/py.typed"} <= wheel


def test_the_wheel_takes_no_name_but_its_own(wheel: set[str]) -> None:
    top = {name.partition("/")[0] for name in wheel}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert top - metadata == {"pgdurable", "pgdurable_cli"}
    assert len(metadata) == 1


def test_the_sdist_holds_what_building_and_testing_take(sdist: set[str]) -> None:
    wanted = files("sql", "*.sql") | files("pgdurable", "*.py") | files("cli", "*.py")
    wanted |= files("tests", "*.py") | {"pyproject.toml", "README.md", "LICENSE", "Makefile"}
    assert wanted <= sdist


def test_what_ci_installs_is_all_that_is_wanted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["clients"], *extras["embedded"]]
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in wanted}
    pinned = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert names - {"pgdurable"} <= set(pinned)
