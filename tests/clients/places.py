"""Where the clients are that are not of this environment, and whether they are there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Name of the client -> what pip is asked for; the newest one is in our own environment.
PYTHON = {"openai-1": "openai<2", "openai-2": "openai<3"}
# Name of the folder below node/ -> the packages in it are in its package.json.
NODE = ("newest", "previous")
SOURCES = Path(__file__).parent / "node"


def home() -> Path:
    """$PGDURABLE_CLIENTS_HOME, else a folder of the user's cache."""
    if given := os.environ.get("PGDURABLE_CLIENTS_HOME"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pgdurable-clients"


def all_required() -> bool:
    """Is a client that is missing a failure rather than a skip?"""
    return os.environ.get("PGDURABLE_CLIENTS") == "all"


def python(client: str) -> Path | None:
    """The interpreter of an older openai-python."""
    path = home() / client / "bin" / "python"
    return path if path.exists() else None


def node(client: str) -> Path | None:
    """The folder with an installed set of node clients."""
    folder = home() / f"node-{client}"
    return folder if shutil.which("node") and (folder / "installed").exists() else None
