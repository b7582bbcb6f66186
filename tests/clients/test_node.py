"""openai-node and the Vercel AI SDK, the newest and the majors before: tests/clients/node/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients import places
from tests.clients.running import Reports, node_command
from tests.clients.serving import Fleet, Server

SCRIPTS = ("openai_node", "ai_sdk")


def scenarios(script: str, group: str) -> list[str]:
    source = (places.SOURCES / f"{script}.mjs").read_text()
    names = re.findall(rf'^{group}\("(\w+)"', source, re.MULTILINE)
    assert names
    return names


def cases(group: str) -> list[tuple[str, str]]:
    return [(script, name) for script in SCRIPTS for name in scenarios(script, group)]


@pytest.fixture(params=places.NODE)
def folder(request: pytest.FixtureRequest) -> Path:
    """Where one set of clients is installed."""
    found = places.node(request.param)
    if found is None and not places.all_required():
        pytest.skip(f"{request.param} node clients: python -m tests.clients.install")
    assert found is not None, f"the {request.param} node clients are not installed"
    return found


@pytest.mark.parametrize(("script", "scenario"), cases("server"))
def test_node(reports: Reports, folder: Path, server: Server, script: str, scenario: str) -> None:
    command = [*node_command(folder, script), "server"]
    reports.check(command, lambda: {"url": server.url}, scenario)


@pytest.mark.parametrize(("script", "scenario"), cases("fleet"))
def test_node_survives_a_kill(
    reports: Reports, folder: Path, fleet: Fleet, script: str, scenario: str
) -> None:
    reports.check([*node_command(folder, script), "fleet"], fleet.setting, scenario)
