"""10,000 connections at once, to `serve` and to `proxy`: who asks is answered, and memory stays bounded."""

from __future__ import annotations

import json
import resource
import selectors
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment

CROWD = 10_000
# For the crowd, and for what a process has open besides.
FILES = CROWD + 1_000
# What one connection that says nothing may cost, and the program itself.
EACH, BASE = 20_000, 150_000_000


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """As many open files as that takes, for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"a process may have {hard} open files here; {FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sealed(wheelseal: Wheelseal, tmp_path: Path) -> Sealed:
    """A repository that the user trusts."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(bins=4)
    sealed.run("add", wheel(tmp_path / "dists", "seal", "1.0"))
    wheelseal("trust", "add", "mine", sealed.folder, "--root", sealed.first_root)
    return sealed


@contextmanager
def running(wheelseal: Wheelseal, *command: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of ours, and its port."""
    xdg = {"XDG_CONFIG_HOME": str(wheelseal.home / "config"), "XDG_STATE_HOME": str(wheelseal.home / "state")}
    process = subprocess.Popen(
        [str(wheelseal.binary), *map(str, command), "--json"],
        env={**clean_environment(), **xdg}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = ""
        while not said.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "it ended"
            said += line
        url = next(iter(json.loads(said).values()))
        yield process, int(url.split(":")[2].split("/")[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def crowd(port: int, head: bytes) -> list[socket.socket]:
    """Connections that were taken up, each of which began a request and says no more."""
    waiting, open_ = selectors.DefaultSelector(), []
    for _ in range(CROWD):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        waiting.register(one, selectors.EVENT_WRITE)
        # In groups smaller than the queue of those who wait to be accepted.
        if len(waiting.get_map()) >= 500:
            open_ += begun(waiting, head)
    while waiting.get_map():
        open_ += begun(waiting, head)
    return open_


def begun(waiting: selectors.BaseSelector, head: bytes) -> list[socket.socket]:
    """Those that stand by now."""
    done = []
    for key, _ in waiting.select(10):
        one = key.fileobj
        assert isinstance(one, socket.socket)
        waiting.unregister(one)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        one.send(head)
        done.append(one)
    assert done, "nobody is taken up any more"
    return done


def resident(process: subprocess.Popen[str]) -> int:
    """Bytes that a process has in memory."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_serve_answers_in_a_crowd_of_slow_ones_and_sends_them_away(wheelseal: Wheelseal, sealed: Sealed) -> None:
    command = ("serve", "--repo", sealed.folder, "--listen", "127.0.0.1:0", "--connections", CROWD + 100)
    with running(wheelseal, *command) as (process, port):
        slow = crowd(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow")
        assert len(slow) == CROWD
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        assert resident(process) < BASE + CROWD * EACH
        # Their heads do not come to an end: they are told so, or cut off.
        deadline = time.monotonic() + 60
        for one in slow:
            one.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                while one.recv(4_096):
                    pass
            except ConnectionResetError:
                pass
            one.close()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/simple/seal/", timeout=10) as answer:
            assert b"seal-1.0" in answer.read()


def test_the_proxy_survives_a_crowd_beyond_its_limit(wheelseal: Wheelseal, sealed: Sealed) -> None:
    with running(wheelseal, "proxy", "--port", "0") as (process, port):
        limit = 200
        slow = []
        for _ in range(CROWD):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            slow.append(one)
        time.sleep(1)
        assert resident(process) < BASE + limit * EACH
        for one in slow:
            one.close()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/mine/simple/seal/", timeout=60) as answer:
            assert b"seal-1.0" in answer.read()
