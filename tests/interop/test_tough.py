"""tough, the second verifier, reads what the first one accepts; where it cannot, it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, key


@pytest.mark.parametrize("bins", [16, 256])
def test_a_repository_with_prefixes_passes(wheelseal: Wheelseal, tmp_path: Path, bins: int) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style="prefixes", bins=bins)
    sealed.run("add", wheel(tmp_path, "seal", "1.0"), sdist(tmp_path, "wax", "1!2.0+local.1"))
    sealed.run("role", "rotate", "timestamp", "--to", key("ecdsa"), keys=[key("root-1")])
    sealed.run("role", "rotate", "targets", "--to", key("rsa"), keys=[key("root-1"), key("targets-1")])
    done = wheelseal.run("check", "--with", "tough", "--repo", sealed.folder)
    assert done.code == 0, done.err
    assert "tough agrees on 5 files" in done.err


def test_a_file_that_was_changed_is_found(wheelseal: Wheelseal, tmp_path: Path) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style="prefixes")
    sealed.run("add", wheel(tmp_path, "seal", "1.0"))
    (file,) = (sealed.folder / "targets" / "seal").glob("*.seal-1.0-py3-none-any.whl")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    sealed.run("check", "--with", "tough", code=3)


def test_succinct_roles_are_refused_clearly(wheelseal: Wheelseal, tmp_path: Path) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style="succinct")
    done = wheelseal.run("check", "--with", "tough", "--repo", sealed.folder)
    assert done.code == 2
    assert "tough cannot read succinct_roles (TAP 15)" in done.err
    assert "--bin-style prefixes" in done.err
