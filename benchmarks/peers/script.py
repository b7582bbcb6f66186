"""Run a peer's script with the peer's interpreter and read the JSON object that it prints last."""

from __future__ import annotations

import json

from benchmarks.peers import python_of
from benchmarks.tools.process import Child


def ask(peer: str, module: str, *arguments: str, timeout: float = 300) -> dict[str, float]:
    with Child([python_of(peer), "-m", f"benchmarks.peers.{module}", *arguments]) as child:
        lines = child.finish(timeout).strip().splitlines()
    answer: dict[str, float] = json.loads(lines[-1])
    return answer
