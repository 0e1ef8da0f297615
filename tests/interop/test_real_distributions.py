"""Real wheels and sdists go in, come out verified, and pip installs them from the written pages."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from helpers import pip
from helpers.sealed import Sealed, download_everything
from helpers.server import Lookup, Server, folder
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal


@pytest.fixture(scope="module")
def published(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sealed, list[Path]]:
    """A repository with everything in it, and the files as they were before."""
    top = tmp_path_factory.mktemp("real")
    files = pip.fetch(top / "dists")
    odd = top / "odd"
    files += [
        wheel(odd, "epochal", "1!2.0"),
        wheel(odd, "local-build", "1.0+cpu.1"),
        sdist(odd, "epochal", "1!2.0"),
    ]
    sealed = Sealed(Wheelseal(binary, top / "home"), top / "repo")
    sealed.init(bins=64)
    sealed.run("add", top / "dists", odd)
    return sealed, files


def test_there_is_enough_and_not_too_much_of_it(published: tuple[Sealed, list[Path]]) -> None:
    _, files = published
    names = {file.name for file in files}
    assert len(files) >= 20
    assert sum(file.stat().st_size for file in files) < 60_000_000
    assert {"Flask-SQLAlchemy-2.5.1.tar.gz", "pyreadline-2.1.zip", "ruamel.yaml-0.18.6.tar.gz"} <= names


def test_check_accepts_it(published: tuple[Sealed, list[Path]]) -> None:
    sealed, files = published
    checked = sealed.wheelseal.json("check", "--repo", sealed.folder)
    assert checked["problems"] == []
    assert checked["targets"] >= len(files)


def test_adding_it_again_changes_nothing(published: tuple[Sealed, list[Path]]) -> None:
    sealed, files = published
    before = (sealed.folder / "metadata" / "timestamp.json").read_bytes()
    again = sealed.wheelseal.json("add", "--repo", sealed.folder, *files)
    assert (again["changed"], len(again["unchanged"])) == ([], len(files))
    assert (sealed.folder / "metadata" / "timestamp.json").read_bytes() == before


def test_every_file_comes_back_verified(
    published: tuple[Sealed, list[Path]],
    wheelseal: Wheelseal,
    tmp_path: Path,
    serve: Callable[[Lookup], Server],
) -> None:
    sealed, files = published
    server = serve(folder(sealed.folder))
    wheelseal("trust", "add", "real", server.url, "--root", sealed.first_root)
    out = wheelseal.json("download", "--to", tmp_path / "out", *[file.name for file in files])
    assert len(out) == len(files)
    for file in files:
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name
    wheelseal("verify", *files)


def test_python_tuf_gets_every_file(
    published: tuple[Sealed, list[Path]], tmp_path: Path, serve: Callable[[Lookup], Server]
) -> None:
    sealed, files = published
    assert download_everything(serve(folder(sealed.folder)).url, sealed, tmp_path / "client") > len(files)


def test_pip_installs_from_the_written_pages(
    published: tuple[Sealed, list[Path]], tmp_path: Path, serve: Callable[[Lookup], Server]
) -> None:
    sealed, _ = published
    server = serve(folder(sealed.folder))
    wanted = [
        "six",
        "zope.event",
        "jaraco.functools",
        "ruamel.yaml",
        "Flask-SQLAlchemy",
        "epochal",
        "local-build",
    ]
    flags = ["--no-build-isolation"]
    chosen = pip.install(server.url, tmp_path / "site", *wanted, flags=flags)
    assert chosen["six"] == "1.17.0"
    assert chosen["epochal"] == "1!2.0"
    assert chosen["local-build"] == "1.0+cpu.1"
    assert len(chosen) == len(wanted)
    assert (tmp_path / "site" / "six.py").is_file()
    assert (tmp_path / "site" / "jaraco" / "functools").is_dir()
    asked = server.taken()
    (metadata,) = [path for path in asked if "/six-1.17.0" in path and path.endswith(".metadata")]
    assert asked.index(metadata) < asked.index(metadata[: -len(".metadata")])


def test_a_requirement_is_looked_up_in_the_signed_page(
    published: tuple[Sealed, list[Path]],
    wheelseal: Wheelseal,
    tmp_path: Path,
    serve: Callable[[Lookup], Server],
) -> None:
    sealed, _ = published
    server = serve(folder(sealed.folder))
    wheelseal("trust", "add", "real", server.url, "--root", sealed.first_root)
    (got,) = wheelseal.json("download", "--to", tmp_path, "flask.sqlalchemy >= 3")
    assert Path(got["path"]).name == "flask_sqlalchemy-3.1.1-py3-none-any.whl"
