"""Running a client's script once, and looking up how its scenarios went."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.clients.places import SOURCES

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120


class Reports:
    """What scripts have printed: a line of JSON per scenario. Each script is run once."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, ...], str] = {}

    def check(self, command: Sequence[str], setting: Callable[[], Any], scenario: str) -> None:
        """Fails with the scenario's own traceback, or with all output where it never ended.

        `setting` is asked for only if the script has not run with these arguments.
        """
        key = tuple(command)
        if key not in self._said:
            self._said[key] = _output([*command, json.dumps(setting())])
        said = self._said[key]
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        errors = {line["scenario"]: line["error"] for line in lines if "scenario" in line}
        assert scenario in errors, f"{scenario} has not ended:\n{said[-4000:]}"
        assert errors[scenario] is None, f"{scenario}:\n{errors[scenario]}"


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    return done.stdout + done.stderr


def node_command(folder: Path, script: str) -> list[str]:
    """The command for a script that imports what is installed in `folder`.

    Node looks for packages beside the script, so that the scripts are copied there.
    """
    for source in SOURCES.glob("*.mjs"):
        shutil.copy(source, folder)
    node = shutil.which("node")
    assert node is not None
    return [node, str(folder / f"{script}.mjs")]
