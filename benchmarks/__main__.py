"""python -m benchmarks: every question in turn, in a process of its own.

`--quick` says whether each works; `--save` rewrites the committed results. Other options are handed
on. Ends with the number of questions that failed.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.process import ROOT

QUESTIONS = (
    "append",
    "latency",
    "accept",
    "fanout",
    "idle",
    "replay",
    "queue",
    "recovery",
    "growth",
    "notify_lock",
)


def main() -> None:
    failed = []
    for question in QUESTIONS:
        print(f"--- {question}", flush=True)
        argv = [sys.executable, "-m", f"benchmarks.{question}", *sys.argv[1:]]
        if subprocess.run(argv, cwd=ROOT, check=False).returncode:
            failed.append(question)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
