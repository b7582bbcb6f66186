"""The blocks of the README and the quick start are run, in order, as a reader would.

The comment above a block says how: `file: NAME` is written, `run` is run, `background` is started
and runs to the end of the page, `skipped: WHY` is not run. A `text` block after one that ran is
what it must have said, with `...` for what differs from time to time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.command import free_port, processes_naming
from tests.repo.markdown import ROOT, Block, blocks
from tests.support.places import roomy_folder
from tests.support.processes import Process

PORT = "8000"  # what the documents say; a test takes a free one


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._port = str(free_port())
        self._said: str | None = None
        scripts = str(Path(sys.executable).parent)
        self._env = {
            "PATH": scripts + os.pathsep + os.environ["PATH"],
            "PGDURABLE_HOME": str(folder / "home"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self.ran = 0

    def obey(self, block: Block) -> None:
        """Do with the block what its mark says."""
        text = block.text.replace(PORT, self._port)
        verb, _, rest = block.mark.partition(": ")
        if verb == "file":
            (self._folder / rest).write_text(text)
        elif verb == "background":
            process = self._stack.enter_context(self._process(block.language, text))
            process.wait_for("Ctrl-C stops it.")
            self._stack.callback(stop, process)
        elif verb == "run":
            self._said = self._run(block.language, text)
            self.ran += 1
        elif block.language == "text" and self._said is not None:
            compare(self._said, block.text)
            self._said = None
        else:
            assert verb == "skipped" or block.language == "text", f"what to do with {block}?"

    def _process(self, language: str, text: str) -> Process:
        return Process(*command(language, text), env=self._env, cwd=str(self._folder))

    def _run(self, language: str, text: str) -> str:
        done = subprocess.run(
            command(language, text),
            cwd=self._folder,
            env=os.environ | self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout


def command(language: str, text: str) -> list[str]:
    if language == "python":
        return [sys.executable, "-c", text]
    assert language == "sh"
    return ["sh", "-euc", f"exec {text}" if text.count("\n") == 1 else text]


def stop(process: Process) -> None:
    process.send(signal.SIGTERM)
    assert process.wait() == 0, process.output()


def compare(said: str, expected: str) -> None:
    """The parts between the dots occur, in this order, whatever the blanks."""
    rest = " ".join(said.split())
    for part in expected.replace("\n", " ").split("..."):
        wanted = " ".join(part.split())
        at = rest.find(wanted)
        assert at >= 0, f"{part!r} is not in the rest of:\n{said}"
        rest = rest[at + len(wanted) :]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the quick start uses curl")
@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_a_reader_who_does_what_the_page_says_gets_what_it_shows(page: str) -> None:
    found = blocks((ROOT / page).read_text("utf-8"))
    folder = Path(tempfile.mkdtemp(prefix="pgdurable-docs-", dir=roomy_folder()))
    folder.chmod(0o755)
    try:
        with ExitStack() as stack:
            reader = Reader(folder, stack)
            for block in found:
                reader.obey(block)
        assert reader.ran > 0
        assert processes_naming(str(folder)) == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
