"""`python -m tests.clients.install`: fetch the clients that are not of this environment.

Once: what is there is left alone. Node ones are left out where there is no npm.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.places import NODE, PYTHON, SOURCES, home


def main() -> None:
    for client, wanted in PYTHON.items():
        _install_python(home() / client, wanted)
    if shutil.which("npm") is None:
        print("no npm: openai-node and the AI SDK are left out")
        return
    for client in NODE:
        _install_node(home() / f"node-{client}", SOURCES / client / "package.json")


def _install_python(folder: Path, wanted: str) -> None:
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", wanted], check=True)
        done.touch()
    print(f"{wanted} is in {folder}")


def _install_node(folder: Path, package: Path) -> None:
    done, wanted = folder / "installed", package.read_text()
    if not done.exists() or done.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(package, folder)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(npm, cwd=folder, check=True)
        done.write_text(wanted)
    print(f"{package.parent.name} node clients are in {folder}")


if __name__ == "__main__":
    main()
