"""pip and uv, unmodified, under `wheelseal exec` and behind `wheelseal proxy`: what verifies is installed, what does not is not."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tools
from helpers.index import WHEEL, Index, refused
from helpers.tools import Tool
from helpers.wheels import wheel
from helpers.wheelseal import Result, Wheelseal, clean_environment

PROJECT = """
[project]
name = "thing"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["seal"]
[[tool.uv.index]]
url = "{url}/simple/"
default = true
"""


@pytest.fixture
def index(wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """An index with two versions of one project."""
    index = Index(wheelseal, tmp_path)
    yield index
    index.server.close()


def pip_install(index: Index, pip: Tool, *wanted: str, flags: tuple[object, ...] = ()) -> Result:
    """`pip install` into the folder `site`."""
    options = ("--target", index.home / "site", "--index-url", f"{index.url}/simple/", "--no-deps")
    return index.exec(pip, "install", *options, *wanted, flags=flags)


def text_of(site: Path) -> str:
    """The module that was installed."""
    return (site / "seal.py").read_text()


def test_pip_installs_what_verifies(index: Index, pip: Tool) -> None:
    report = index.home / "report.json"
    done = pip_install(index, pip, "seal", flags=("--report", report))
    assert done.code == 0, done.err
    assert (index.home / "site" / "seal-1.1.dist-info").is_dir()
    assert not [path for path in index.server.taken() if path.startswith("simple/")], "unsigned pages are not asked for"
    listed = {file["target"]: file for file in json.loads(report.read_text())["files"]}
    roles = [role["role"] for role in listed[f"seal/{WHEEL}"]["roles"]]
    assert roles[:5] == ["root", "timestamp", "snapshot", "targets", "bins"]


def test_pip_is_told_why_a_swapped_file_is_refused(index: Index, pip: Tool) -> None:
    index.tamper()
    done = pip_install(index, pip, "seal")
    refused(done, 3, f"403 Client Error: wheelseal refused {WHEEL}: ", "not the file that was signed")
    assert not (index.home / "site").exists()
    asked = [path for path in index.server.taken() if path.endswith(WHEEL)]
    assert len(asked) == 1, "nobody tries again"


def test_pip_is_told_that_a_file_is_longer_than_signed(index: Index, pip: Tool) -> None:
    index.tamper(index.evil())
    done = pip_install(index, pip, "seal")
    refused(done, 3, f"403 Client Error: wheelseal refused {WHEEL}: ", "bytes expected")
    assert not (index.home / "site").exists()


def test_pip_gets_nothing_of_an_index_that_went_back(index: Index, pip: Tool) -> None:
    old = (index.sealed.folder / "metadata" / "timestamp.json").read_bytes()
    index.sealed.run("add", wheel(index.home / "dists", "seal", "1.2"))
    assert pip_install(index, pip, "seal==1.2").code == 0
    index.lies["metadata/timestamp.json"] = old
    done = pip_install(index, pip, "seal==1.1", "--upgrade")
    refused(done, 5, "refused seal of mine: ", "timestamp")
    assert (index.home / "site" / "seal-1.2.dist-info").is_dir()


def test_hash_checking_mode_goes_on_working(index: Index, pip: Tool) -> None:
    digest = next(file.name.split(".")[0] for file in index.sealed.folder.glob(f"targets/seal/*.{WHEEL}"))
    wanted = index.home / "requirements.txt"
    wanted.write_text(f"seal==1.1 --hash=sha256:{digest}\n")
    done = pip_install(index, pip, "--require-hashes", "-r", str(wanted))
    assert done.code == 0, done.err


def uv_project(index: Index) -> Path:
    project = index.home / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT.format(url=index.url))
    return project


def test_uv_sync_installs_what_verifies_and_locks_the_indexs_own_addresses(index: Index, uv: Tool) -> None:
    project = uv_project(index)
    done = index.exec(uv, "sync", "--project", project, flags=("--strict",))
    assert done.code == 0, done.err
    lock = (project / "uv.lock").read_text()
    assert f'"{index.url}/targets/seal/{WHEEL}"' in lock
    assert f'registry = "{index.url}/simple/"' in lock
    assert list((project / ".venv").rglob("seal-1.1.dist-info"))
    # From the lock alone: no page is asked for, and the file is in the cache.
    index.server.taken()
    again = index.exec(uv, "sync", "--project", project, "--reinstall", "--no-cache")
    assert again.code == 0, again.err
    assert not [path for path in index.server.taken() if path.endswith(WHEEL)]


def test_uv_sync_is_told_why_a_swapped_file_is_refused(index: Index, uv: Tool) -> None:
    project = uv_project(index)
    assert index.exec(uv, "lock", "--project", project).code == 0
    index.tamper()
    done = index.exec(uv, "sync", "--project", project)
    refused(done, 3, f"Server message: wheelseal refused {WHEEL}, ", "not the file that was signed")
    assert not list((project / ".venv").rglob("seal*"))
    assert len([path for path in index.server.taken() if path.endswith(WHEEL)]) == 1, "nobody tries again"


def uv_pip_install(index: Index, uv: Tool, url: str, env: dict[str, str], *before: str) -> Result:
    """`uv pip install` into the folder `site`, as it is or by another command."""
    site = index.home / "site"
    command = [*before, *uv.command, "pip", "install", "--target", str(site), "--index-url", url, "seal"]
    ran = subprocess.run(
        command, env={**clean_environment(), **env}, capture_output=True, text=True, timeout=120, check=False
    )
    return Result(ran.returncode, ran.stdout, ran.stderr)


def test_a_cache_that_was_poisoned_before_is_not_used(index: Index, uv: Tool) -> None:
    evil = index.evil()
    index.tamper(evil)
    page = (index.sealed.folder / "simple/seal/index.html").read_text()
    good = next(file.name.split(".")[0] for file in index.sealed.folder.glob(f"targets/seal/*.{WHEEL}"))
    index.lies["simple/seal/"] = page.replace(good, hashlib.sha256(evil).hexdigest()).encode()
    poisoned = {**index.env(uv), "UV_CACHE_DIR": str(index.home / "poisoned")}
    done = uv_pip_install(index, uv, f"{index.url}/simple/", poisoned)
    assert done.code == 0 and "evil" in text_of(index.home / "site"), done.err
    index.lies.clear()
    (index.home / "site" / "seal.py").unlink()
    options = ("pip", "install", "--reinstall", "--target", index.home / "site", "--index-url", f"{index.url}/simple/", "seal")
    assert index.wheelseal.run("exec", "--", *uv.command, *options, env=poisoned).code == 0
    assert "evil" not in text_of(index.home / "site")


def test_warn_lets_a_swapped_file_through_and_says_so_loudly(index: Index, binary: Path) -> None:
    index.tamper()
    done = pip_install(index, tools.pip(binary, tools.PIPS[-1]), "seal==1.1", flags=("--mode", "warn"))
    assert "NOT VERIFIED seal-1.1-py3-none-any.whl of mine: " in done.err
    # pip itself compares with the hash of the page, which is signed.
    assert done.code == 1 and "DO NOT MATCH THE HASHES" in done.err


@pytest.mark.parametrize("tampered", [False, True])
def test_a_fixed_port_serves_pip_and_uv(index: Index, binary: Path, tampered: bool) -> None:
    if tampered:
        index.tamper()
    pip, uv = tools.pip(binary, tools.PIPS[-1]), tools.uv(binary, tools.UVS[-1])
    home = {"XDG_CONFIG_HOME": str(index.wheelseal.home / "config"), "XDG_STATE_HOME": str(index.wheelseal.home / "state")}
    command = [str(binary), "proxy", "--port", "0", "--json"]
    env = {**clean_environment(), **index.env(pip), **home}
    proxy = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert proxy.stdout is not None and proxy.stderr is not None
    lines = ""
    while not lines.endswith("}\n"):
        lines += proxy.stdout.readline()
    url = json.loads(lines)["mine"]
    try:
        by_uv = uv_pip_install(index, uv, url, {**index.env(uv), "UV_CACHE_DIR": str(index.home / "uv")})
        options = ("install", "--no-cache-dir", "--target", str(index.home / "by-pip"), "--index-url", url, "seal")
        by_pip = subprocess.run(
            [*pip.command, *options],
            env={**clean_environment(), **pip.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        proxy.send_signal(signal.SIGTERM)
    assert proxy.wait(timeout=30) == 0
    reason = f"wheelseal refused {WHEEL}"
    if tampered:
        assert by_uv.code != 0 and reason in by_uv.err, by_uv.err
        assert by_pip.returncode != 0 and reason in by_pip.stderr, by_pip.stderr
        assert f"refused {WHEEL} of mine: " in proxy.stderr.read()
    else:
        assert (by_uv.code, by_pip.returncode) == (0, 0), by_uv.err + by_pip.stderr
        assert text_of(index.home / "by-pip") == text_of(index.home / "site")
