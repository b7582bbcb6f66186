"""Where tests put their servers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def roomy_folder() -> str | None:
    """Memory where there is enough of it (a container's default is 64 MiB), else the usual one."""
    shm = Path("/dev/shm")
    if shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 1 << 30:
        return str(shm)
    return None
