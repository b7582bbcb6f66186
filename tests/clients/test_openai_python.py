"""openai-python 1.x, 2.x and the newest: tests/clients/openai_python under each."""

from __future__ import annotations

import sys

import pytest

from tests.clients import places
from tests.clients.openai_python import SCENARIOS
from tests.clients.running import Reports
from tests.clients.serving import Fleet, Server

VERSIONS = ["newest", *places.PYTHON]


def names(group: str) -> list[str]:
    return [name for name, _ in SCENARIOS[group]]


@pytest.fixture(params=VERSIONS)
def command(request: pytest.FixtureRequest) -> list[str]:
    """Runs the scenarios with one version."""
    interpreter = sys.executable
    if request.param != "newest":
        path = places.python(request.param)
        if path is None and not places.all_required():
            pytest.skip(f"{request.param} is not installed: python -m tests.clients.install")
        assert path is not None, f"{request.param} is not installed"
        interpreter = str(path)
    return [interpreter, "-m", "tests.clients.openai_python"]


@pytest.mark.parametrize("scenario", names("server"))
def test_openai_python(reports: Reports, command: list[str], server: Server, scenario: str) -> None:
    reports.check([*command, "server"], lambda: {"url": server.url}, scenario)


@pytest.mark.parametrize("scenario", names("fleet"))
def test_openai_python_survives_a_kill(
    reports: Reports, command: list[str], fleet: Fleet, scenario: str
) -> None:
    reports.check([*command, "fleet"], fleet.setting, scenario)
