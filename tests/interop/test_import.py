"""What `import` lists, python-tuf downloads and pip installs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from helpers import pip
from helpers.sealed import Sealed, download_everything
from helpers.server import Lookup, Server, folder
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, clean_environment

Serve = Callable[[Lookup], Server]


def place(sealed: Sealed, project: str, dist: Path, more: str = "") -> str:
    """Puts a distribution where clients look for it; gives its line."""
    digest = hashlib.sha256(dist.read_bytes()).hexdigest()
    target = sealed.folder / "targets" / project
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{digest}.{dist.name}").write_bytes(dist.read_bytes())
    os.link(target / f"{digest}.{dist.name}", target / dist.name)
    return f"{dist.name}\t{dist.stat().st_size}\t{digest}{more}\n"


@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_python_tuf_and_pip_take_what_a_list_brought(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str
) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=style)
    sealed.run("add", wheel(tmp_path, "seal", "1.0"))
    lines = [
        place(sealed, "seal", wheel(tmp_path, "seal", "1.1")),
        place(sealed, "seal", wheel(tmp_path, "seal", "1.2"), "\t>=3.99"),
        place(sealed, "seal", wheel(tmp_path, "seal", "1.3"), "\t\tbroken\t2026-01-02T03:04:05Z"),
        place(sealed, "wax", sdist(tmp_path, "wax", "2.0")),
    ]
    (tmp_path / "list.tsv").write_text("".join(lines))
    sealed.run("import", "--from-tsv", tmp_path / "list.tsv")
    server = serve(folder(sealed.folder))
    # Two pages, five files, metadata of the wheel that `add` published.
    assert download_everything(server.url, sealed, tmp_path / "client") == 8
    assert pip.install(server.url, tmp_path / "a", "seal") == {"seal": "1.1"}
    assert pip.install(server.url, tmp_path / "b", "seal==1.3") == {"seal": "1.3"}


@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_python_tuf_and_pip_take_what_a_mirror_brought(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str
) -> None:
    """A folder as bandersnatch has it, with the metadata of one wheel beside it."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=style)
    packages = tmp_path / "mirror" / "web" / "packages"
    wheel(packages / "aa" / "bb" / "cc", "seal", "1.0")
    wheel(packages / "aa" / "bb" / "dd", "seal", "1.1", requires_python=">=3.99")
    beside = wheel(packages / "aa" / "ee" / "ff", "wax", "1.0")
    beside.with_name(f"{beside.name}.metadata").write_text("Metadata-Version: 2.1\nName: wax\nVersion: 1.0\n")
    sdist(packages / "00" / "11" / "22", "wax", "0.9")
    sealed.run("import", "--from-dir", tmp_path / "mirror", "--store-files")
    sealed.run("check")
    server = serve(folder(sealed.folder))
    # Two pages, four files, metadata of three wheels.
    assert download_everything(server.url, sealed, tmp_path / "client") == 9
    assert pip.install(server.url, tmp_path / "site", "seal", "wax") == {"seal": "1.0", "wax": "1.0"}


def test_python_tuf_and_pip_take_what_another_index_told(
    binary: Path, wheelseal: Wheelseal, tmp_path: Path, serve: Serve
) -> None:
    """One repository, served by wheelseal, is the index that another one is made of; the files come by themselves."""
    told, sealed = Sealed(wheelseal, tmp_path / "told"), Sealed(wheelseal, tmp_path / "repo")
    told.init()
    sealed.init()
    told.run("add", wheel(tmp_path, "seal", "1.0"), wheel(tmp_path, "seal", "1.1"), sdist(tmp_path, "wax", "2.0"))
    told.run("yank", "seal-1.1-py3-none-any.whl")
    command = [str(binary), "serve", "--repo", str(told.folder), "--listen", "127.0.0.1:0"]
    env = {**clean_environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    index = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert index.stdout is not None
        url = index.stdout.readline().strip().rstrip("/")
        sealed.run("import", "--from-index", f"{url}/simple/")
    finally:
        index.terminate()
        index.communicate(timeout=30)
    for project in ("seal", "wax"):
        shutil.copytree(told.folder / "targets" / project, sealed.folder / "targets" / project)
    sealed.run("check")
    server = serve(folder(sealed.folder))
    # Two pages, three files; the length of the wheels' metadata is not told.
    assert download_everything(server.url, sealed, tmp_path / "client") == 5
    assert pip.install(server.url, tmp_path / "site", "seal") == {"seal": "1.0"}
