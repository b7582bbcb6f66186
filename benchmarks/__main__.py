"""python -m benchmarks: every question in turn, then the tables of docs/benchmarks.md.

This rewrites the committed results; `--quick` only says whether each question works. Options are
handed on to the questions. What `make bench` runs.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks import report
from benchmarks.tools.process import ROOT

QUESTIONS = (
    "handover",
    "append",
    "latency",
    "accept",
    "fanout",
    "idle",
    "replay",
    "queue",
    "recovery",
    "growth",
    "hot",
    "notify_lock",
)


def main() -> None:
    given = sys.argv[1:]
    quick = "--quick" in given
    failed = []
    for question in QUESTIONS:
        print(f"--- {question}", flush=True)
        argv = [
            sys.executable,
            "-m",
            f"benchmarks.{question}",
            *given,
            *([] if quick else ["--save"]),
        ]
        if subprocess.run(argv, cwd=ROOT, check=False).returncode:
            failed.append(question)
    if not quick:
        report.main()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
