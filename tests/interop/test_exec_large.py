"""Large files under `wheelseal exec`, which real tools get while they come: a bad one never works, whatever its first bytes are."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.index import Index, refused
from helpers.server import Slow
from helpers.tools import Tool
from helpers.wheelseal import Wheelseal

BIG = "big-1.0-py3-none-any.whl"
PIP = ("install", "--no-deps")
UV = ("pip", *PIP)
# Runs a command; the largest memory in KiB that it or a program of it had.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
# Reads what is at an address; how many bytes there are.
FETCH = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as answer:
    print(sum(len(part) for part in iter(lambda: answer.read(2**20), b"")))
"""
# Bytes at the end of a file that nobody gets before all of it was checked.
HELD_BACK = 64 * 1024


def wheel(text: str, data: bytes, version: str = "1.0") -> bytes:
    """A wheel with a module, and data that is stored as it is."""
    out, info = io.BytesIO(), f"big-{version}.dist-info"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("big.py", text)
        archive.writestr("big_data.bin", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: big\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"big.py,,\nbig_data.bin,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return out.getvalue()


@pytest.fixture
def index(wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """An index with a wheel of 9 MB."""
    index = Index(wheelseal, tmp_path)
    file = tmp_path / "dists" / BIG
    file.write_bytes(wheel("TEXT = 'good'\n", random.Random(1).randbytes(9_000_000)))
    index.sealed.run("add", file)
    yield index
    index.server.close()


def evil(length: int) -> bytes:
    """As many bytes as the good wheel has, of which those that are sent before they were checked are a wheel that works."""
    empty = wheel("TEXT = 'evil'\n", b"")
    return wheel("TEXT = 'evil'\n", bytes(length - HELD_BACK - len(empty))) + bytes(HELD_BACK)


def good_one(index: Index, tool: Tool, how: tuple[str, ...]) -> None:
    """It is installed."""
    site = index.home / "site"
    done = index.exec(tool, *how, "--target", site, "--index-url", f"{index.url}/simple/", "big")
    assert done.code == 0, done.err
    assert (site / "big_data.bin").stat().st_size == 9_000_000


def bad_one(index: Index, tool: Tool, how: tuple[str, ...]) -> None:
    """It is not, though all that comes of it is a wheel that would work."""
    site = index.home / "site"
    good = next(index.sealed.folder.glob(f"targets/big/*.{BIG}"))
    bad = evil(good.stat().st_size)
    with zipfile.ZipFile(io.BytesIO(bad[:-HELD_BACK])) as archive:
        assert b"evil" in archive.read("big.py")
    # Time for the tool to have all that it is going to get, before the last byte shows that it is bad.
    index.lies[str(good.relative_to(index.sealed.folder))] = Slow(bad, 1.0)
    # An address without a hash: nothing but what the connection tells says that it is not all.
    done = index.exec(tool, *how, "--target", site, f"{index.url}/targets/big/{BIG}")
    refused(done, 3, f"refused {BIG} of mine: ", "is not the file that was signed")
    assert not list(site.glob("big*")), done.out + done.err
    asked = [path for path in index.server.taken() if path.endswith(BIG)]
    assert len(asked) == 1, "who tries again is told why, and the server is not asked"


def test_pip_installs_a_good_large_file(index: Index, pip: Tool) -> None:
    good_one(index, pip, PIP)


def test_uv_installs_a_good_large_file(index: Index, uv: Tool) -> None:
    good_one(index, uv, UV)


def test_pip_has_no_use_for_the_beginning_of_a_bad_large_file(index: Index, pip: Tool) -> None:
    bad_one(index, pip, PIP)


def test_uv_has_no_use_for_the_beginning_of_a_bad_large_file(index: Index, uv: Tool) -> None:
    bad_one(index, uv, UV)


def test_memory_does_not_grow_with_the_file(index: Index) -> None:
    file = index.home / "dists" / BIG.replace("1.0", "2.0")
    file.write_bytes(wheel("", bytes(200_000_000), "2.0"))
    index.sealed.run("add", file)
    url = f"{index.url}/targets/big/{file.name}"
    python = Wheelseal(Path(sys.executable), index.wheelseal.home)
    command = (index.wheelseal.binary, "exec", "--", sys.executable, "-c", FETCH, url)
    done = python.run("-c", MEASURE, *command, env=index.env(Tool((), {})))
    assert done.code == 0, done.err
    length, memory = map(int, done.out.split())
    assert length == file.stat().st_size
    assert memory < 120_000, f"{memory} KiB"
