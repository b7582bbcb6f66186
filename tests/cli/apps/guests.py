"""An agent that does to its process what agents do: it forks, exits, starts tools, patches."""

from __future__ import annotations

import asyncio
import logging.config
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor

from pgdurable import Agent, AgentRequest
from pgdurable.database import connections
from pgdurable.long_running import LongRunningAgentServer

agent = Agent("guests")
threads = Agent("threads")
forking = multiprocessing.get_context("fork")


@agent.stream()
async def act(request: AgentRequest) -> AsyncIterator[str]:
    words = str(request.input[-1].content).split()
    async for word in ACTS[words[0]](*words[1:]):
        yield word


async def leave_a_child() -> AsyncIterator[str]:
    child = forking.Process(target=time.sleep, args=(600,))
    child.start()
    yield f"{child.pid}"


async def use_a_pool() -> AsyncIterator[str]:
    with ProcessPoolExecutor(2, mp_context=forking) as pool:
        loop = asyncio.get_running_loop()
        yield " ".join(
            await asyncio.gather(*[loop.run_in_executor(pool, str, n) for n in range(4)])
        )


async def leave_from_a_child() -> AsyncIterator[str]:
    yield "begun "
    if (pid := os.fork()) == 0:
        sys.exit(7)
    _, status = os.waitpid(pid, 0)
    yield f"{os.waitstatus_to_exitcode(status)}"


@threads.stream()
def leave_from_a_child_of_a_thread(request: AgentRequest) -> Iterator[str]:
    yield "begun "
    if (pid := os.fork()) == 0:
        sys.exit(7)
    _, status = os.waitpid(pid, 0)
    yield f"{os.waitstatus_to_exitcode(status)}"


async def go_on_in_a_child() -> AsyncIterator[str]:
    yield "begun "
    if (pid := os.fork()) == 0:
        yield "nobody hears this"
        await asyncio.sleep(600)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    yield f"{'ended' if status else 'fine'}"


async def hang_up_in_a_child() -> AsyncIterator[str]:
    if (pid := os.fork()) == 0:
        for conn in list(connections._opened):
            conn.pgconn.finish()
        os._exit(0)
    os.waitpid(pid, 0)
    yield "done"


async def read_stdin() -> AsyncIterator[str]:
    done = await asyncio.to_thread(subprocess.run, ["cat"], capture_output=True, timeout=10)
    yield f"{done.returncode} {done.stdout.decode()!r}"


async def patch() -> AsyncIterator[str]:
    import nest_asyncio  # type: ignore[import-untyped]

    nest_asyncio.apply()
    yield asyncio.run(asyncio.sleep(0, "nested"))


async def raise_later(kind: str) -> AsyncIterator[str]:
    async def fail() -> None:
        raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[kind]

    left = asyncio.create_task(fail())
    yield "said"
    await asyncio.wait([left])


async def configure_logging() -> AsyncIterator[str]:
    logging.config.dictConfig({"version": 1})
    yield "configured"
    raise ValueError("after dictConfig")


ACTS = {
    function.__name__: function
    for function in (
        leave_a_child,
        use_a_pool,
        leave_from_a_child,
        go_on_in_a_child,
        hang_up_in_a_child,
        read_stdin,
        patch,
        raise_later,
        configure_logging,
    )
}
server = LongRunningAgentServer(agent=agent, drain_timeout_seconds=0.2)
