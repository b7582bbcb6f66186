# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""dbos as a queue of no-op workflows; $POLL is the queue's polling interval in seconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient

from benchmarks.tools import marks

COMMAND, DSN, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
POLL = float(os.environ.get("POLL", "1.0"))
WORKFLOW = {"workflow_name": "nothing", "queue_name": "bench", "app_version": "1"}


def serve() -> None:
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": DSN,
            "run_admin_server": False,
            "log_level": "ERROR",
            "application_version": "1",
            "executor_id": f"executor-{os.getpid()}",
        }
    )

    @DBOS.workflow(name="nothing")
    def nothing(sent_at: float) -> None:
        marks.handler_started(sent_at)

    DBOS.launch()
    if COMMAND == "work":
        DBOS.register_queue("bench", polling_interval_sec=POLL)
        threading.Event().wait()
    DBOS.destroy()


def main() -> None:
    if COMMAND in ("setup", "work"):
        serve()
        return
    client = DBOSClient(system_database_url=DSN)
    if COMMAND == "enqueue":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.enqueue(WORKFLOW, 0), range(COUNT)))
    else:
        for _ in range(COUNT):
            client.enqueue(WORKFLOW, time.monotonic())
            time.sleep(0.05)


main()
