"""Lock files as uv and pip write them against `wheelseal serve`, held against what is signed."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment

UV = Path(sys.executable).with_name("uv")
PROJECT = """
[project]
name = "thing"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["seal", "wax; sys_platform == 'win32'"]
[[tool.uv.index]]
name = "sealed"
url = "{url}/simple/"
default = true
"""


@pytest.fixture
def sealed(wheelseal: Wheelseal, tmp_path: Path) -> Sealed:
    """A repository with two projects, trusted."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(bins=64)
    for project in ("seal", "wax"):
        sealed.run("add", wheel(tmp_path / "dists", project, "1.0"))
    return sealed


@pytest.fixture
def url(binary: Path, sealed: Sealed) -> Iterator[str]:
    """The address of that repository, served."""
    command = [str(binary), "serve", "--repo", str(sealed.folder), "--listen", "127.0.0.1:0"]
    env = {**clean_environment(), "XDG_STATE_HOME": str(sealed.folder.parent / "state")}
    server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip().rstrip("/")
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=30)


def tool(folder: Path, *command: str) -> None:
    """Runs a tool in a project's folder."""
    env = {name: value for name, value in clean_environment().items() if not name.startswith("UV_")}
    env |= {"UV_CACHE_DIR": str(folder / "cache"), "UV_PYTHON": sys.executable}
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def project(tmp_path: Path, url: str) -> Path:
    """A project whose index is that repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT.format(url=url))
    (folder / "wanted.in").write_text("seal\nwax\n")
    return folder


def locks(project: Path, url: str) -> dict[str, Path]:
    """Every lock file that these tools write."""
    tool(project, str(UV), "lock")
    tool(project, str(UV), "export", "--format", "pylock.toml", "-o", "pylock.toml")
    tool(project, str(UV), "export", "--no-emit-project", "-o", "exported.txt")
    index = ("--index-url", f"{url}/simple/")
    tool(project, str(UV), "pip", "compile", "--generate-hashes", *index, "wanted.in", "-o", "compiled.txt")
    tool(project, sys.executable, "-m", "pip", "lock", *index, "-r", "wanted.in", "-o", "pylock.pip.toml")
    names = ("uv.lock", "pylock.toml", "exported.txt", "compiled.txt", "pylock.pip.toml")
    return {name: project / name for name in names}


def test_locks_of_uv_and_pip_are_held_against_what_is_signed(
    wheelseal: Wheelseal, sealed: Sealed, project: Path, url: str
) -> None:
    wheelseal("trust", "add", "sealed", url, "--root", sealed.first_root)
    digest = hashlib.sha256((sealed.folder / "targets/seal/seal-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    for name, lock in locks(project, url).items():
        assert "2 of 2 are as signed" in wheelseal("verify", "--lock", lock), name
        bad = project / "bad" / name
        bad.parent.mkdir(exist_ok=True)
        bad.write_text(lock.read_text().replace(digest, digest[::-1]))
        assert "BAD seal 1.0" in wheelseal("verify", "--lock", bad, code=3), name


def test_pip_and_uv_install_what_was_exported(
    wheelseal: Wheelseal, sealed: Sealed, project: Path, url: str
) -> None:
    wheelseal("trust", "add", "sealed", url, "--root", sealed.first_root)
    tool(project, str(UV), "lock")
    export = project / "verified.txt"
    wheelseal("lock", "export", project / "uv.lock", "--out", export)
    assert "wax==1.0 ; (sys_platform == 'win32')" in export.read_text()
    wanted = ("--require-hashes", "--index-url", f"{url}/simple/", "-r", str(export))
    tool(project, sys.executable, "-m", "pip", "install", "--target", "by-pip", *wanted)
    tool(project, str(UV), "pip", "install", "--target", "by-uv", *wanted)
    for folder in ("by-pip", "by-uv"):
        assert (project / folder / "seal-1.0.dist-info").is_dir()
        assert not (project / folder / "wax-1.0.dist-info").exists()
