"""A recorder that follows an index which wheelseal had no part in, and pip that gets from it what that index removed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from helpers import tools
from helpers.index import Index
from helpers.tools import Tool
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, clean_environment

DEVPI = ("devpi-server==6.20.3", "devpi-client==7.3.0")

pytestmark = pytest.mark.skipif(sys.version_info < (3, 10), reason="this devpi needs Python 3.10")


@dataclass
class Devpi:
    """A devpi on a loopback port, with one index that forgets what it is told to forget."""

    programs: Path
    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def do(self, *args: str) -> None:
        """Runs its client."""
        command = [str(self.programs / "devpi"), *args, "--clientdir", str(self.home / "client")]
        env = {**clean_environment(), "HOME": str(self.home)}
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=env)

    def upload(self, *files: Path) -> None:
        """Uploads with twine."""
        command = [sys.executable, "-m", "twine", "upload", "--repository-url", f"{self.url}/root/dev/"]
        command += ["-u", "root", "-p", "", "--non-interactive", "--disable-progress-bar", *map(str, files)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment())


@pytest.fixture
def devpi(binary: Path, tmp_path: Path) -> Iterator[Devpi]:
    """It runs until the test ends."""
    programs = tools.environment(binary, "devpi", *DEVPI)
    home, env = tmp_path / "devpi", {**clean_environment(), "HOME": str(tmp_path)}
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    devpi = Devpi(programs, home, port)
    init = [str(programs / "devpi-init"), "--serverdir", str(home / "server"), "--no-root-pypi"]
    subprocess.run(init, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=env)
    serve = [str(programs / "devpi-server"), "--serverdir", str(home / "server"), "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        for _ in range(600):
            try:
                urlopen(f"{devpi.url}/+api").close()
                break
            except OSError:
                time.sleep(0.1)
        devpi.do("use", devpi.url)
        devpi.do("login", "root", "--password=")
        devpi.do("index", "-c", "root/dev", "bases=", "volatile=True")
        devpi.do("use", f"{devpi.url}/root/dev")
        yield devpi
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def recorder(wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """The recorder's repository behind TLS, and a user who trusts it."""
    index = Index(wheelseal, tmp_path / "recorder")
    yield index
    index.server.close()


def record(recorder: Index, devpi: Devpi, code: int = 0) -> dict[str, object]:
    """One round."""
    flags = ("--mirror", "--once", "--allow-private", "--json", "--index", f"{devpi.url}/root/dev/+simple/")
    said: dict[str, object] = json.loads(recorder.sealed.run("record", *flags, code=code))
    return said


def test_pip_installs_from_a_recorder_what_its_index_removed(
    devpi: Devpi, recorder: Index, binary: Path, tmp_path: Path
) -> None:
    dists = tmp_path / "dists"
    devpi.upload(wheel(dists, "wax", "1.0"), wheel(dists, "wax", "2.0"), sdist(dists, "lac", "3.0"))
    said = record(recorder, devpi)
    assert (said["recorded"], said["unread"], said["left_out"], said["waiting"]) == (3, 0, 0, 0)
    devpi.do("remove", "-y", "wax==2.0")
    said = record(recorder, devpi)
    assert (said["recorded"], said["conflicts"], said["waiting"]) == (0, 0, 0)
    pip: Tool = tools.pip(binary, tools.PIPS[-1])
    site = tmp_path / "site"
    flags = ("--target", site, "--index-url", f"{recorder.url}/simple/", "--no-deps")
    done = recorder.exec(pip, "install", *flags, "wax")
    assert done.code == 0, done.out + done.err
    assert (site / "wax-2.0.dist-info").is_dir()


def test_another_file_under_a_removed_name_is_a_conflict(devpi: Devpi, recorder: Index, tmp_path: Path) -> None:
    devpi.upload(wheel(tmp_path / "first", "wax", "1.0"))
    record(recorder, devpi)
    devpi.do("remove", "-y", "wax==1.0")
    devpi.upload(wheel(tmp_path / "second", "wax", "1.0", text="evil = True\n"))
    said = record(recorder, devpi, code=9)
    assert (said["recorded"], said["conflicts"]) == (0, 1)
    kept = list((recorder.sealed.folder / "conflicts").rglob("*.json"))
    assert [json.loads(file.read_text())["source"] for file in kept] == ["index"]
    first = (tmp_path / "first" / "wax-1.0-py3-none-any.whl").read_bytes()
    assert recorder.sealed.targets()["wax/wax-1.0-py3-none-any.whl"] == first
