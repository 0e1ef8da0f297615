"""wheelseal's own commands on repositories that python-tuf made: trust, download, verify, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from helpers.conformance import Client
from helpers.server import Lookup, Server
from helpers.tufrepo import TufRepo, in_days
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal
from securesystemslib.signer import CryptoSigner

SEAL = "seal/seal-1.0-py3-none-any.whl"


def flat(repo: TufRepo) -> list[str]:
    """Top-level targets lists everything."""
    return ["targets"]


def prefixes(repo: TufRepo) -> list[str]:
    """16 bins by hash prefix, below a role `bins`: PEP 458."""
    repo.delegate("targets", "bins", prefixes=list("0123456789abcdef"))
    for digit in "0123456789abcdef":
        repo.delegate("bins", f"bin-{digit}", prefixes=[digit])
    return [f"bin-{digit}" for digit in "0123456789abcdef"]


def succinct(repo: TufRepo) -> list[str]:
    """32 succinct bins."""
    return repo.delegate_succinct("targets", 5, "bin")


def by_project(repo: TufRepo) -> list[str]:
    """A terminating role for one project before one for all."""
    repo.delegate("targets", "project-seal", paths=["seal/*"], terminating=True)
    repo.delegate("targets", "others", paths=["*/*"])
    return ["project-seal"]


def fill(repo: TufRepo, roles: list[str], path: str, content: bytes) -> None:
    """Lists the target in each of the roles: the one that answers for it is among them."""
    for role in roles:
        repo.add_target(role, path, content)
    repo.update(*repo.roles)


@pytest.fixture
def trust(
    wheelseal: Wheelseal, tmp_path: Path, serve: Callable[[Lookup], Server]
) -> Callable[[TufRepo], Server]:
    """Makes a user who trusts a repository."""

    def add(repo: TufRepo) -> Server:
        server = serve(repo.lookup)
        root = tmp_path / "root.json"
        root.write_bytes(repo.first_root)
        wheelseal("trust", "add", "friend", server.url, "--root", root)
        return server

    return add


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("layout", [flat, prefixes, succinct, by_project])
@pytest.mark.parametrize(("consistent", "hashes"), [(True, False), (True, True), (False, True)])
def test_download_and_verify(
    wheelseal: Wheelseal, tmp_path: Path, trust: Any, kind: str, layout: Any, consistent: bool, hashes: bool
) -> None:
    if kind == "rsa":
        signer = CryptoSigner.generate_rsa()
        repo = TufRepo(new_key=lambda: signer, consistent=consistent, hashes=hashes)
    else:
        new_key = getattr(CryptoSigner, f"generate_{kind}")
        repo = TufRepo(new_key=new_key, consistent=consistent, hashes=hashes)
    original = wheel(tmp_path / "original", "seal", "1.0")
    fill(repo, layout(repo), SEAL, original.read_bytes())
    trust(repo)
    wheelseal("download", SEAL, "--to", tmp_path / "out")
    copy = tmp_path / "out" / original.name
    assert copy.read_bytes() == original.read_bytes()
    wheelseal("verify", copy)
    copy.write_bytes(original.read_bytes() + b" ")
    wheelseal("verify", copy, code=3)


def test_explain_names_the_chain(wheelseal: Wheelseal, trust: Any) -> None:
    repo = TufRepo()
    fill(repo, prefixes(repo), SEAL, b"content")
    trust(repo)
    explained = wheelseal.json("explain", SEAL)
    roles = [(link["role"], link["trusted_by"]) for link in explained["roles"]]
    assert roles[:5] == [
        ("root", "root"),
        ("timestamp", "root"),
        ("snapshot", "root"),
        ("targets", "root"),
        ("bins", "targets"),
    ]
    assert roles[5][0].startswith("bin-") and roles[5][1] == "bins" and len(roles) == 6
    assert explained["length"] == len(b"content")
    assert [link["signed_by"][0]["scheme"] for link in explained["roles"]] == ["ed25519"] * 6


def test_terminating_keeps_others_from_speaking_for_a_project(
    wheelseal: Wheelseal, tmp_path: Path, trust: Any
) -> None:
    repo = TufRepo()
    by_project(repo)
    repo.add_target("others", SEAL, b"not the maintainers'")
    repo.add_target("others", "wax/wax-1.0-py3-none-any.whl", b"wax")
    repo.update(*repo.roles)
    trust(repo)
    wheelseal("download", SEAL, "--to", tmp_path, code=3)
    wheelseal("download", "wax/wax-1.0-py3-none-any.whl", "--to", tmp_path)


def test_a_file_on_disk_under_another_name(wheelseal: Wheelseal, tmp_path: Path, trust: Any) -> None:
    repo = TufRepo()
    fill(repo, ["targets"], SEAL, b"content")
    trust(repo)
    (tmp_path / "renamed").write_bytes(b"content")
    wheelseal("verify", tmp_path / "renamed", "--as", SEAL)


def test_offline_after_one_download(wheelseal: Wheelseal, tmp_path: Path, trust: Any) -> None:
    repo = TufRepo()
    fill(repo, succinct(repo), SEAL, b"content")
    server = trust(repo)
    wheelseal("download", SEAL, "--to", tmp_path)
    server.taken()
    wheelseal("verify", tmp_path / "seal-1.0-py3-none-any.whl", "--offline")
    assert server.taken() == []


@pytest.mark.parametrize(
    ("attack", "code"),
    [("rollback", 5), ("expired", 4), ("below threshold", 6), ("swapped file", 3), ("silent server", 7)],
)
def test_refusals_have_their_exit_codes(
    wheelseal: Wheelseal, tmp_path: Path, trust: Any, attack: str, code: int
) -> None:
    repo = TufRepo()
    fill(repo, ["targets"], SEAL, b"content")
    server = trust(repo)
    wheelseal("download", SEAL, "--to", tmp_path / "first")
    if attack == "rollback":
        repo.timestamp.version = 1
        repo.put_timestamp()
    elif attack == "expired":
        repo.timestamp.expires = in_days(-1)
        repo.update()
    elif attack == "below threshold":
        repo.unsigned.add("timestamp")
        repo.update()
    elif attack == "swapped file":
        (served,) = [path for path in repo.files if path.startswith("targets/")]
        repo.files[served] = b"CONTENT"
    else:
        server.close = lambda: None  # type: ignore[method-assign]
        server._server.shutdown()
        server._server.server_close()
    wheelseal("download", SEAL, "--to", tmp_path / "second", code=code)
    assert not (tmp_path / "second" / "seal-1.0-py3-none-any.whl").exists()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("layout", [flat, prefixes, succinct, by_project])
def test_the_same_through_the_conformance_protocol(
    new_client: Callable[[TufRepo], Client], kind: str, layout: Any
) -> None:
    signer = getattr(CryptoSigner, f"generate_{kind}")()
    repo = TufRepo(new_key=lambda: signer, hashes=True)
    fill(repo, layout(repo), SEAL, b"content")
    client = new_client(repo)
    assert client.download(SEAL) == 0, client.said
    assert list(client.downloaded().values()) == [b"content"]
