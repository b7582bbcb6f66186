"""Real, unmodified clients against a real server process and a real Postgres."""
