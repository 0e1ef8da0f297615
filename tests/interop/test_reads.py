"""pip and uv wait where `serve --read-rate` says that they ask too often."""

from __future__ import annotations

import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.tools import Tool
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment


@pytest.fixture
def spent(binary: Path, wheelseal: Wheelseal, tmp_path: Path) -> Iterator[str]:
    """A server that has just had all requests of this minute from us; one more is borne each second.

    This machine is not counted, so it is named as a proxy whose header says who asks: `Host`, which is this machine.
    """
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(bins=4)
    sealed.run("add", wheel(tmp_path / "dists", "seal", "1.0"))
    command = [binary, "serve", "--repo", sealed.folder, "--listen", "127.0.0.1:0", "--read-rate", "60"]
    command += ["--trusted-proxy", "127.0.0.1", "--address-header", "Host"]
    env = {**clean_environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    server = subprocess.Popen(
        list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    status = 200
    while status == 200:
        try:
            status = urllib.request.urlopen(f"{url}simple/seal/", timeout=30).status
        except urllib.error.HTTPError as refused:
            status = refused.code
            assert int(refused.headers["Retry-After"]) in (1, 2)
    assert status == 429
    yield url
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (0, "", "")


def run(tool: Tool, *arguments: object) -> None:
    """Runs an installer, which must succeed."""
    command = [*tool.command, *map(str, arguments)]
    env = {**clean_environment(), **tool.env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pip_waits(spent: str, pip: Tool, tmp_path: Path) -> None:
    flags = ["--no-deps", "--no-cache-dir", "--target", tmp_path / "site", "--index-url", f"{spent}simple/"]
    run(pip, "install", *flags, "seal")
    assert list((tmp_path / "site").glob("seal*"))


def test_uv_waits(spent: str, uv: Tool, tmp_path: Path) -> None:
    flags = ["--no-deps", "--no-cache", "--target", tmp_path / "site", "--index-url", f"{spent}simple/"]
    run(uv, "pip", "install", *flags, "seal")
    assert list((tmp_path / "site").glob("seal*"))
