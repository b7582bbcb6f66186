"""Running a client's script once, and looking up how its scenarios went."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120


class Report:
    """What a script has printed: a line of JSON per scenario."""

    def __init__(self, command: list[str], setting: dict[str, Any]) -> None:
        done = subprocess.run(
            [*command, json.dumps(setting)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        self._said = done.stdout + done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self._errors = {line["scenario"]: line["error"] for line in lines if "scenario" in line}

    def check(self, scenario: str) -> None:
        """Fails with the scenario's own traceback, or with all output where it never ended."""
        assert scenario in self._errors, f"{scenario} has not ended:\n{self._said[-4000:]}"
        error = self._errors[scenario]
        assert error is None, f"{scenario}:\n{error}"


def node_script(folder: Path, script: Path) -> list[str]:
    """The command for a script that imports what is installed in `folder`.

    Node looks for packages beside the script, so that it is copied there.
    """
    shutil.copy(script, folder)
    node = shutil.which("node")
    assert node is not None
    return [node, str(folder / script.name)]
