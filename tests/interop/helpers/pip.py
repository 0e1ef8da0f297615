"""pip: against the real index to get real input, and against a page made by wheelseal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.wheelseal import clean_environment

HERE = Path(__file__).resolve().parents[1]
# One fixed platform, so that every machine gets the same wheels.
WHEELS = ["--only-binary", ":all:", "--platform", "manylinux2014_x86_64", "--python-version", "3.11"]
SDISTS = ["--no-binary", ":all:", "--no-build-isolation"]


def fetch(folder: Path) -> list[Path]:
    """Downloads the listed real distributions, with whatever index this machine is set up for."""
    for flags, listed in ((WHEELS, "distributions.txt"), (SDISTS, "sdists.txt")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, *flags, "-r", str(HERE / listed)], check=True, stdin=subprocess.DEVNULL)
    return sorted(folder.iterdir())


def install(url: str, folder: Path, *requirements: str, flags: list[str] | None = None) -> dict[str, str]:
    """Installs from an index into a folder, with no other source. Which version of each project was chosen.

    Raises CalledProcessError if pip refuses.
    """
    report = folder.with_suffix(".json")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--no-compile",
    ]
    command += [
        "--index-url",
        f"{url}/simple/",
        "--target",
        str(folder),
        "--report",
        str(report),
        *(flags or []),
    ]
    subprocess.run(
        [*command, *requirements],
        check=True,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    installed = json.loads(report.read_text())["install"]
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in installed}
