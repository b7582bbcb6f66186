"""Postgres: connections, one Python door to its functions, its schema, a server of our own."""
