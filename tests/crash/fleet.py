"""Processes of `pgdurable run`, and what to do to them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.processes import Process

ROOT = Path(__file__).parents[2]
TARGET = "tests.crash.agents:server"
_SERVING = re.compile(r"serving (http://\S+?)/responses")


class Node(Process):
    """A process that serves and works, or (`--no-worker`, `--no-server`) only one of it."""

    def __init__(self, dsn: str, *options: str, marks: Path | None = None, **settings: Any) -> None:
        where = [] if "--no-server" in options else ["--port", "0"]
        super().__init__(
            *[sys.executable, "-m", "pgdurable", "run", TARGET],
            *["--dsn", dsn, *where, *options],
            env={"CRASH_SETTINGS": json.dumps(settings), "CRASH_MARKS": str(marks or "")},
            cwd=str(ROOT),
        )

    @property
    def url(self) -> str:
        """Where it serves; waits until it does."""
        said = self.wait_for("Ctrl-C stops it")
        found = _SERVING.search(said)
        assert found, said
        return found[1]

    def until_ready(self) -> Node:
        """It serves, or works; its listener need not hear yet."""
        self.wait_for("Ctrl-C stops it")
        return self


class Nodes:
    """A set of processes, started side by side; all killed in the end."""

    def __init__(self) -> None:
        self._all: list[Node] = []

    def start(self, dsn: str, *options: str, marks: Path | None = None, **settings: Any) -> Node:
        node = Node(dsn, *options, marks=marks, **settings)
        self._all.append(node)
        return node

    def said(self) -> str:
        """What all of them have said, for a failing test."""
        return "\n\n".join(f"--- {node.pid}\n{node.output()[-6000:]}" for node in self._all)

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc is not None:
            print(self.said())
        for node in self._all:
            node.__exit__(kind, exc, tb)
