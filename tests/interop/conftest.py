"""Fixtures. The binary under test is named by WHEELSEAL_BIN; tests/run sets it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from helpers import tools
from helpers.conformance import Client
from helpers.server import Lookup, Server
from helpers.tools import Tool
from helpers.tufrepo import TufRepo
from helpers.wheelseal import Wheelseal, clean_environment

# python-tuf and pip run in this process and below it: proxies are for the network, not for loopback.
for variable in set(os.environ) - set(clean_environment()):
    if variable.lower().endswith("_proxy"):
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@pytest.fixture(scope="session")
def binary() -> Path:
    """The binary under test."""
    named = os.environ.get("WHEELSEAL_BIN")
    assert named, "WHEELSEAL_BIN must name the wheelseal binary; tests/run does that"
    return Path(named).resolve(strict=True)


@pytest.fixture
def wheelseal(binary: Path, tmp_path: Path) -> Wheelseal:
    """The binary with a home of its own."""
    return Wheelseal(binary, tmp_path / "home")


@pytest.fixture
def serve() -> Iterator[Callable[[Lookup], Server]]:
    """Starts servers; the test's end stops them."""
    servers: list[Server] = []

    def start(lookup: Lookup) -> Server:
        servers.append(Server(lookup))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def repo() -> TufRepo:
    """A repository made by python-tuf: ed25519 keys, consistent snapshots, versions 1."""
    return TufRepo()


@pytest.fixture
def new_client(
    wheelseal: Wheelseal, tmp_path: Path, serve: Callable[[Lookup], Server]
) -> Callable[[TufRepo], Client]:
    """Makes a client of a repository that trusts its first root."""

    def make(repo: TufRepo) -> Client:
        client = Client(wheelseal, tmp_path, serve(repo.lookup))
        assert client.init(repo.first_root) == 0, client.said
        return client

    return make


@pytest.fixture
def client(repo: TufRepo, new_client: Callable[[TufRepo], Client]) -> Client:
    """A client of `repo` that trusts its first root and has asked nothing yet."""
    return new_client(repo)


@pytest.fixture(scope="session")
def clock() -> None:
    """For tests that move the clock of the binary."""
    if shutil.which("faketime") is None:
        pytest.skip("the program faketime is not installed")


@pytest.fixture(params=tools.PIPS)
def pip(request: pytest.FixtureRequest, binary: Path) -> Tool:
    """Three versions of pip. Those before 23.1 do not run in newer Pythons."""
    if request.param.startswith("22") and sys.version_info >= (3, 12):
        pytest.skip(f"pip {request.param} does not run in Python 3.12 and newer")
    return tools.pip(binary, request.param)


@pytest.fixture(params=tools.UVS)
def uv(request: pytest.FixtureRequest, binary: Path) -> Tool:
    """Two versions of uv."""
    return tools.uv(binary, request.param)
