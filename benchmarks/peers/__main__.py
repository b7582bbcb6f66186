"""python -m benchmarks.peers install: make the peers' environments; list: say what is there."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys

from benchmarks.peers import NODE_PACKAGES, PYTHON_PACKAGES, home


def install() -> None:
    for peer, packages in PYTHON_PACKAGES.items():
        print(f"{peer}: {' '.join(packages)}", flush=True)
        folder = home() / peer
        if not (folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *packages], check=True)
    if shutil.which("npm") is None:
        print("node: skipped, there is no npm")
        return
    print(f"node: {' '.join(NODE_PACKAGES)}", flush=True)
    folder = home() / "node"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["npm", "install", "--silent", "--no-fund", *NODE_PACKAGES], cwd=folder, check=True
    )


def versions() -> dict[str, str]:
    """The versions of what is installed, by package name."""
    found: dict[str, str] = {}
    for peer, packages in PYTHON_PACKAGES.items():
        python = home() / peer / "bin" / "python"
        if python.exists():
            name = packages[0].split("[")[0]
            code = f"from importlib.metadata import version; print(version({name!r}))"
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
            found[name] = done.stdout.strip()
    for package in ("graphile-worker", "pg-boss", "node"):
        manifest = home() / "node" / "node_modules" / package / "package.json"
        if manifest.exists():
            found[package] = str(json.loads(manifest.read_text())["version"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("action", choices=["install", "list"])
    if parser.parse_args().action == "install":
        install()
    print(json.dumps(versions(), indent=1))


if __name__ == "__main__":
    main()
