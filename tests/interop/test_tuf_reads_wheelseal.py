"""python-tuf's client and metadata API read what wheelseal signs, through the life of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from helpers.sealed import Sealed, assert_same_canonical_bytes, download_everything
from helpers.server import Lookup, Server, folder
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, key
from securesystemslib.signer import CryptoSigner

Serve = Callable[[Lookup], Server]


def write_key(path: Path, signer: CryptoSigner) -> Path:
    """A private key file as python-tuf's users have it."""
    path.touch(mode=0o600)
    path.write_bytes(signer.private_bytes)
    return path


def keys_of(kind: str, tmp_path: Path) -> dict[str, list[Path]]:
    """Keys of one kind for all roles."""
    make = getattr(CryptoSigner, f"generate_{kind}")
    roles = ("root_keys", "targets_keys", "online_keys")
    return {role: [write_key(tmp_path / f"{role}.pem", make())] for role in roles}


@pytest.mark.parametrize("style", ["succinct", "prefixes"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_in_every_style(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str, kind: str
) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo", **keys_of(kind, tmp_path))
    sealed.init(style=style, bins=4)
    sealed.run(
        "add", wheel(tmp_path, "seal", "1.0"), sdist(tmp_path, "seal", "1.0"), wheel(tmp_path, "wax", "2.1")
    )
    server = serve(folder(sealed.folder))
    # Two pages, three files, metadata of two wheels.
    assert download_everything(server.url, sealed, tmp_path / "client") == 7


@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_thresholds_of_two_of_three(wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str) -> None:
    roots = [key("root-1"), key("root-2"), key("root-3")]
    targets = [key("targets-1"), key("targets-2"), key("rsa")]
    online = [key("online"), key("online-2"), key("ecdsa")]
    sealed = Sealed(wheelseal, tmp_path / "repo", roots, targets, online, thresholds=(2, 2, 2))
    sealed.init(style=style)
    sealed.run("add", wheel(tmp_path, "seal", "1.0"))
    assert download_everything(serve(folder(sealed.folder)).url, sealed, tmp_path / "client") == 3


@pytest.mark.parametrize("bins", [2, 32, 256])
@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_any_number_of_bins(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str, bins: int
) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=style, bins=bins)
    sealed.run("add", *[wheel(tmp_path, f"project{number}", "1.0") for number in range(6)])
    assert download_everything(serve(folder(sealed.folder)).url, sealed, tmp_path / "client") == 18


@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_the_life_of_a_repository(wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str) -> None:
    """After each change a client that follows, and one that starts anew, get every file."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=style)
    server = serve(folder(sealed.folder))
    counts: list[int] = []

    def look() -> int:
        fresh = tmp_path / f"fresh-{len(counts)}"
        counts.append(download_everything(server.url, sealed, tmp_path / "following"))
        assert download_everything(server.url, sealed, fresh) == counts[-1]
        return counts[-1]

    assert look() == 0
    sealed.run("add", wheel(tmp_path, "seal", "1.0"), wheel(tmp_path, "wax", "1.0"))
    assert look() == 6
    sealed.run("add", wheel(tmp_path, "seal", "1.1"), sdist(tmp_path, "seal", "1.1"))
    assert look() == 9
    sealed.run("yank", "seal-1.0-py3-none-any.whl", "--reason", "broken")
    assert look() == 9
    sealed.run("remove", "wax-1.0-py3-none-any.whl")
    assert look() == 6
    sealed.run("bump", "--all", keys=[key("root-1"), key("targets-1")])
    assert look() == 6
    sealed.run("role", "rotate", "timestamp", "--to", key("online-2"), keys=[key("root-1")])
    assert look() == 6
    sealed.run("role", "rotate", "snapshot", "--to", key("online-2"), keys=[key("root-1")])
    assert look() == 6
    sealed.run("role", "rotate", "targets", "--to", key("targets-2"), keys=[key("root-1"), key("targets-1")])
    assert look() == 6
    new_roots = ["--to", key("root-2"), "--to", key("root-3"), "--threshold", 2]
    sealed.run("role", "rotate", "root", *new_roots, keys=[key("root-1")])
    assert look() == 6
    sealed.run("add", wheel(tmp_path, "wax", "1.1"))
    assert look() == 9
    sealed.run("check")
    for file in sorted((sealed.folder / "metadata").glob("*.json")):
        assert_same_canonical_bytes(file)


def test_keys_from_the_old_root_alone_do_not_fool_a_client(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve
) -> None:
    """Lost targets key: rotated without it. Clients that follow get the new one."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init()
    sealed.run("add", wheel(tmp_path, "seal", "1.0"))
    server = serve(folder(sealed.folder))
    assert download_everything(server.url, sealed, tmp_path / "client") == 3
    sealed.run("role", "rotate", "targets", "--to", key("targets-2"), keys=[key("root-1")])
    assert download_everything(server.url, sealed, tmp_path / "client") == 3


@pytest.mark.parametrize("promoted", [False, True])
@pytest.mark.parametrize("style", ["succinct", "prefixes"])
def test_claimed_projects(
    wheelseal: Wheelseal, tmp_path: Path, serve: Serve, style: str, promoted: bool
) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=style, bins=4)
    sealed.run("add", wheel(tmp_path, "seal", "1.0"), wheel(tmp_path, "wax", "2.1"))
    sealed.run("claims", "enable", keys=[key("targets-1")])
    wheelseal("trust", "add", "mine", sealed.folder, "--root", sealed.first_root)
    claim, release = tmp_path / "claim.json", tmp_path / "release"
    wheelseal("project", "claim", "seal", "--key", key("root-2"), "--out", claim)
    sealed.run("claims", "apply", claim)
    if promoted:
        sealed.run("claims", "promote", keys=[key("targets-1")])
    made = wheel(tmp_path, "seal", "2.0")
    wheelseal("project", "release", "seal", made, "--key", key("root-2"), "--out", release)
    sealed.run("claims", "receive", release)
    server = serve(folder(sealed.folder))
    # Two pages, three wheels, their metadata.
    assert download_everything(server.url, sealed, tmp_path / "client") == 8
    for file in (sealed.folder / "metadata").glob("*claimed*.json"):
        assert_same_canonical_bytes(file)
    if style == "prefixes":
        done = wheelseal.run("check", "--with", "tough", "--repo", sealed.folder)
        assert done.code == 0, done.err
        assert "tough agrees on 8 files" in done.err
