"""openai-python 1.x, 2.x and the newest: tests/clients/openai_python under each."""

from __future__ import annotations

import sys

import pytest

from tests.clients import places
from tests.clients.openai_python import SCENARIOS
from tests.clients.running import Report
from tests.clients.serving import Fleet, Server

MODULE = ["-m", "tests.clients.openai_python"]
VERSIONS = ["newest", *places.PYTHON]


def names(group: str) -> list[str]:
    return [name for name, _ in SCENARIOS[group]]


@pytest.fixture(scope="module", params=VERSIONS)
def interpreter(request: pytest.FixtureRequest) -> str:
    if request.param == "newest":
        return sys.executable
    path = places.python(request.param)
    if path is None and not places.all_required():
        pytest.skip(f"{request.param} is not installed: python -m tests.clients.install")
    assert path is not None, f"{request.param} is not installed"
    return str(path)


@pytest.fixture(scope="module")
def on_server(interpreter: str, server: Server) -> Report:
    return Report([interpreter, *MODULE], {"group": "server", "url": server.url})


@pytest.fixture(scope="module")
def on_fleet(interpreter: str, fleet: Fleet) -> Report:
    workers = [worker.url for worker in fleet.workers()]
    setting = {"group": "fleet", "front": fleet.front.url, "workers": workers}
    return Report([interpreter, *MODULE], setting)


@pytest.mark.parametrize("scenario", names("server"))
def test_openai_python(on_server: Report, scenario: str) -> None:
    on_server.check(scenario)


@pytest.mark.parametrize("scenario", names("fleet"))
def test_openai_python_survives_a_kill(on_fleet: Report, scenario: str) -> None:
    on_fleet.check(scenario)
