"""Real, unmodified clients against real server processes and a real Postgres.

openai-python (newest), openai-agents, aiohttp and curl need nothing more. The others, which are
older openai-pythons, openai-node and the AI SDK, are fetched once, to a folder outside the
repository, by `python -m tests.clients.install`; their tests are skipped until then, and fail
with PGDURABLE_CLIENTS=all.
"""
