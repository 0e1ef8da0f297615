"""Several versions of pip and uv, from whatever index this machine is set up for, kept beside the binary under test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# One that stumbles over the old name of core-metadata, an older one, the newest.
PIPS = ("22.3.1", "24.3.1", "26.0.1")
# One that takes files which contradict the hashes of their page, and one that does not.
UVS = ("0.12.16", "0.13.9")


@dataclass(frozen=True)
class Tool:
    """A command line, and what it needs in its environment."""

    command: tuple[str, ...]
    env: dict[str, str]


def fetch(binary: Path, name: str, version: str) -> Path:
    """The folder of a version of a tool."""
    folder = binary.parent.parent / "test-tools" / f"{name}-{version}"
    if not folder.is_dir():
        unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(unfinished)]
        subprocess.run([*command, f"{name}=={version}"], check=True, stdin=subprocess.DEVNULL)
        unfinished.rename(folder)
    return folder


def environment(binary: Path, name: str, *wanted: str) -> Path:
    """A virtual environment with these packages and what they need. Its folder of programs."""
    folder = binary.parent.parent / "test-tools" / name
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (folder / "complete").touch()
    return folder / "bin"


def pip(binary: Path, version: str) -> Tool:
    """A pip that runs in this Python."""
    folder = fetch(binary, "pip", version)
    return Tool((sys.executable, "-m", "pip"), {"PYTHONPATH": str(folder)})


def uv(binary: Path, version: str) -> Tool:
    """A uv that installs for this Python."""
    program = fetch(binary, "uv", version) / "bin" / "uv"
    return Tool((str(program),), {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"})
