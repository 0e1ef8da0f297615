"""Plain pip on the unsigned pages: what it must choose, and what it must not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

import pytest
from helpers import pip
from helpers.sealed import Sealed
from helpers.server import Lookup, Server, folder
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal


@pytest.fixture
def sealed(wheelseal: Wheelseal, tmp_path: Path) -> Sealed:
    """A repository with three versions of one project."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init()
    sealed.run("add", *[wheel(tmp_path / "dists", "seal", version) for version in ("1.0", "1.1", "1.2")])
    return sealed


@pytest.fixture
def server(sealed: Sealed, serve: Callable[[Lookup], Server]) -> Server:
    """A plain file server of that repository."""
    return serve(folder(sealed.folder))


def test_the_newest_is_chosen_and_its_metadata_read_first(server: Server, tmp_path: Path) -> None:
    assert pip.install(server.url, tmp_path / "site", "seal") == {"seal": "1.2"}
    name = "targets/seal/seal-1.2-py3-none-any.whl"
    assert [path for path in server.taken() if path.startswith("targets/")] == [f"{name}.metadata", name]


def test_a_yanked_release_is_not_chosen_unless_named(sealed: Sealed, server: Server, tmp_path: Path) -> None:
    sealed.run("yank", "seal-1.2-py3-none-any.whl", "--reason", 'eats <data> & "more"')
    assert pip.install(server.url, tmp_path / "a", "seal") == {"seal": "1.1"}
    assert pip.install(server.url, tmp_path / "b", "seal==1.2") == {"seal": "1.2"}
    sealed.run("yank", "seal-1.2-py3-none-any.whl", "--undo")
    assert pip.install(server.url, tmp_path / "c", "seal") == {"seal": "1.2"}


def test_a_removed_release_is_not_offered(sealed: Sealed, server: Server, tmp_path: Path) -> None:
    sealed.run("remove", "seal-1.2-py3-none-any.whl")
    assert pip.install(server.url, tmp_path / "a", "seal") == {"seal": "1.1"}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        pip.install(server.url, tmp_path / "b", "seal==1.2")
    assert "No matching distribution" in refused.value.stderr


@pytest.mark.parametrize("requires", [">=3.99", "<3", "!=3.*"])
def test_requires_python_is_honoured(sealed: Sealed, server: Server, tmp_path: Path, requires: str) -> None:
    sealed.run("add", wheel(tmp_path, "seal", "2.0", requires_python=requires))
    assert pip.install(server.url, tmp_path / "site", "seal") == {"seal": "1.2"}


def test_a_file_that_was_changed_on_the_server_is_refused(
    sealed: Sealed, server: Server, tmp_path: Path
) -> None:
    """The page's hash alone, without TUF: the least that a page gives."""
    file = sealed.folder / "targets" / "seal" / "seal-1.2-py3-none-any.whl"
    changed = wheel(tmp_path / "evil", "seal", "1.2", text="evil").read_bytes()
    file.unlink()
    file.write_bytes(changed)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        pip.install(server.url, tmp_path / "site", "seal")
    assert "DO NOT MATCH THE HASHES" in refused.value.stderr


@pytest.mark.parametrize("spelling", ["Seal", "SEAL"])
def test_any_spelling_of_the_name(server: Server, tmp_path: Path, spelling: str) -> None:
    assert pip.install(server.url, tmp_path / "site", spelling) == {"seal": "1.2"}


def test_hash_checking_mode(server: Server, sealed: Sealed, tmp_path: Path) -> None:
    digest = next(
        file.name.split(".")[0]
        for file in (sealed.folder / "targets" / "seal").glob("*.seal-1.1-py3-none-any.whl")
    )
    listed = tmp_path / "requirements.txt"
    listed.write_text(f"seal==1.1 --hash=sha256:{digest}\n")
    flags = ["--require-hashes", "-r", str(listed)]
    assert pip.install(server.url, tmp_path / "site", flags=flags) == {"seal": "1.1"}
