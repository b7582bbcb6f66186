"""Long-running agents that survive crashes, on Postgres alone."""
