"""Runs a group of scenarios, for 1.x, 2.x and the newest alike; needs only openai.

    python -m tests.clients.openai_python server '{"url": ...}'
    python -m tests.clients.openai_python fleet '{"front": ..., "workers": [...]}'

Prints a line of JSON per scenario: its name, and the traceback where it failed.
"""

from __future__ import annotations

import json
import sys
import time
import traceback

import openai

from tests.clients.openai_python.harness import SCENARIOS, connect


def main() -> None:
    setting = json.loads(sys.argv[2])
    print(json.dumps({"version": openai.__version__}), flush=True)
    for name, scenario in SCENARIOS[sys.argv[1]]:
        error, began = None, time.monotonic()
        try:
            scenario(connect(setting["url"]) if "url" in setting else setting)
        except Exception:
            error = traceback.format_exc()
        seconds = round(time.monotonic() - began, 2)
        print(json.dumps({"scenario": name, "error": error, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
