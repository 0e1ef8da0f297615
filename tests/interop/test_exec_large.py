"""Large files under `wheelseal exec`, which real tools get while they come: a bad one never works, whatever its first bytes are."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tools
from helpers.index import Index, refused
from helpers.server import Slow
from helpers.tools import Tool
from helpers.wheelseal import Wheelseal
from test_exec import old_pip

BIG = "big-1.0-py3-none-any.whl"
# Bytes at the end of a file that nobody gets before all of it was checked.
HELD_BACK = 64 * 1024


def wheel(text: str, data: bytes) -> bytes:
    """A wheel with a module, and data that is stored as it is."""
    out, info = io.BytesIO(), "big-1.0.dist-info"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("big.py", text)
        archive.writestr("big_data.bin", data)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: big\nVersion: 1.0\n")
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


@pytest.fixture(params=[("pip", version) for version in tools.PIPS] + [("uv", version) for version in tools.UVS], ids="-".join)
def install(request: pytest.FixtureRequest, binary: Path) -> tuple[Tool, tuple[str, ...]]:
    """Three versions of pip and two of uv, and how each installs."""
    name, version = request.param
    if name == "uv":
        return tools.uv(binary, version), ("pip", "install", "--no-deps")
    old_pip(version)
    return tools.pip(binary, version), ("install", "--no-deps")


def evil(length: int) -> bytes:
    """As many bytes as the good wheel has, of which those that are sent before they were checked are a wheel that works."""
    empty = wheel("TEXT = 'evil'\n", b"")
    return wheel("TEXT = 'evil'\n", bytes(length - HELD_BACK - len(empty))) + bytes(HELD_BACK)


def test_a_good_large_file_is_installed(index: Index, install: tuple[Tool, tuple[str, ...]]) -> None:
    (tool, how), site = install, index.home / "site"
    done = index.exec(tool, *how, "--target", site, "--index-url", f"{index.url}/simple/", "big")
    assert done.code == 0, done.err
    assert (site / "big_data.bin").stat().st_size == 9_000_000


def test_the_beginning_of_a_bad_large_file_is_of_no_use(index: Index, install: tuple[Tool, tuple[str, ...]]) -> None:
    (tool, how), site = install, index.home / "site"
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
