"""Root rotation, thresholds, and keys that are told twice."""

from __future__ import annotations

import copy
import json
from typing import Any, Callable

import pytest
from helpers.conformance import Client
from helpers.tufrepo import TufRepo
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey

# (name, versions of root: (keys, threshold, signers), is the last one trusted?)
# Keys are numbers; version 1 of the root is what the client starts with.
ROTATIONS: list[tuple[str, list[tuple[list[int], int, list[int]]], int]] = [
    ("no change", [([1], 1, [1]), ([1], 1, [1])], 2),
    ("new key, signed by both", [([1], 1, [1]), ([2], 1, [1, 2])], 2),
    ("new key, not signed by the old", [([1], 1, [1]), ([2], 1, [2])], 1),
    ("new key, not signed by itself", [([1], 1, [1]), ([2], 1, [1])], 1),
    ("unsigned", [([1], 1, [1]), ([1], 1, [])], 1),
    ("a stranger's signature", [([1], 1, [1]), ([1], 1, [3])], 1),
    ("two steps, each signed by its neighbours", [([1], 1, [1]), ([2], 1, [1, 2]), ([3], 1, [2, 3])], 3),
    ("two steps, the last signed by the first key", [([1], 1, [1]), ([2], 1, [1, 2]), ([3], 1, [1, 3])], 2),
    ("threshold goes up", [([1, 2], 1, [1]), ([1, 2], 2, [1, 2])], 2),
    ("threshold goes up, one signature", [([1, 2], 1, [1]), ([1, 2], 2, [1])], 1),
    ("threshold goes down, old one reached", [([1, 2], 2, [1, 2]), ([1], 1, [1, 2])], 2),
    ("threshold goes down, old one not reached", [([1, 2], 2, [1, 2]), ([1], 1, [1])], 1),
    ("2 of 3, one key replaced", [([1, 2, 3], 2, [1, 2]), ([2, 3, 4], 2, [2, 3])], 2),
    ("2 of 3, two keys replaced, both sides sign", [([1, 2, 3], 2, [1, 3]), ([3, 4, 5], 2, [1, 3, 4])], 2),
    ("2 of 3, two keys replaced, old side short", [([1, 2, 3], 2, [1, 3]), ([3, 4, 5], 2, [3, 4])], 1),
    ("2 of 3, two keys replaced, new side short", [([1, 2, 3], 2, [1, 3]), ([3, 4, 5], 2, [1, 3])], 1),
    ("the first root does not sign itself enough", [([1, 2], 2, [1])], 0),
]


@pytest.fixture(scope="module")
def signers() -> dict[int, CryptoSigner]:
    """A key for each number of the table."""
    return {number: CryptoSigner.generate_ed25519() for number in range(1, 6)}


@pytest.mark.parametrize(("name", "chain", "trusted"), ROTATIONS, ids=[row[0] for row in ROTATIONS])
def test_root_rotation(
    new_client: Callable[[TufRepo], Client],
    signers: dict[int, CryptoSigner],
    name: str,
    chain: Any,
    trusted: int,
) -> None:
    repo = TufRepo()
    for version, (keys, threshold, signed_by) in enumerate(chain, 1):
        for keyid in list(repo.root.roles["root"].keyids):
            repo.root.revoke_key(keyid, "root")
        for number in keys:
            repo.root.add_key(signers[number].public_key, "root")
        repo.root.roles["root"].threshold = threshold
        repo.signers["root"] = [signers[number] for number in signed_by]
        repo.root.version = version
        repo.put_root()
    repo.first_root = repo.files["metadata/1.root.json"]
    client = new_client(repo)
    assert client.refresh() == (0 if trusted == len(chain) else 1), client.said
    assert client.trusted()["root"] == repo.files[f"metadata/{max(trusted, 1)}.root.json"]


def test_a_root_with_another_version_than_its_name_is_refused(repo: TufRepo, client: Client) -> None:
    repo.root.version = 3
    repo.put_root()
    repo.files["metadata/2.root.json"] = repo.files["metadata/3.root.json"]
    assert client.refresh() == 1
    assert client.trusted() == {"root": repo.first_root}


def test_the_same_root_again_is_no_new_root(repo: TufRepo, client: Client) -> None:
    repo.files["metadata/2.root.json"] = repo.first_root
    assert client.refresh() == 1
    assert client.trusted() == {"root": repo.first_root}


def test_many_roots_are_followed_in_order(repo: TufRepo, client: Client) -> None:
    for _ in range(20):
        repo.new_root()
    assert client.refresh() == 0, client.said
    assert client.asked()[:20] == [f"metadata/{version}.root.json" for version in range(2, 22)]
    assert client.trusted()["root"] == repo.files["metadata/21.root.json"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("signatures", "code"), [(1, 1), (2, 0), (3, 0)])
def test_threshold_two_of_three(
    new_client: Callable[[TufRepo], Client], role: str, signatures: int, code: int
) -> None:
    repo = TufRepo()
    repo.add_key(role)
    repo.add_key(role)
    repo.root.roles[role].threshold = 2
    repo.new_root()
    repo.signers[role] = repo.signers[role][:signatures]
    repo.update("targets")
    client = new_client(repo)
    assert client.refresh() == code, client.said
    assert (role in client.trusted()) == (code == 0)


def alias(repo: TufRepo, role: str, count: int) -> None:
    """Lists the one key of a role under more key ids, and signs under each: still one key."""
    signer = repo.signers[role][0]
    known = signer.public_key
    for number in range(1, count):
        key = SSlibKey(f"{number:064x}", known.keytype, known.scheme, copy.deepcopy(known.keyval))
        repo.root.add_key(key, role)
        again = CryptoSigner(signer._private_key, key)
        repo.signers[role].append(again)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("threshold", "code"), [(1, 0), (2, 1)])
def test_one_key_under_many_ids_counts_once(
    new_client: Callable[[TufRepo], Client], role: str, threshold: int, code: int
) -> None:
    repo = TufRepo()
    alias(repo, role, 4)
    repo.root.roles[role].threshold = threshold
    repo.new_root()
    repo.update("targets")
    client = new_client(repo)
    assert client.refresh() == code, client.said


def test_a_key_id_listed_twice_counts_once(new_client: Callable[[TufRepo], Client]) -> None:
    repo = TufRepo()
    signed = {**repo.root.to_dict(), "version": 2}
    signed["roles"]["timestamp"].update(keyids=signed["roles"]["timestamp"]["keyids"] * 2, threshold=2)
    signature = repo.signers["root"][0].sign(encode_canonical(signed).encode())
    body = {"signed": signed, "signatures": [signature.to_dict()]}
    repo.files["metadata/2.root.json"] = json.dumps(body).encode()
    assert new_client(repo).refresh() == 1


def test_unknown_keys_do_not_harm(repo: TufRepo, client: Client) -> None:
    """A key of a kind from the future cannot sign, but the others still can."""
    odd = SSlibKey("f" * 64, "ed448-from-the-future", "some-scheme", {"public": "00"})
    repo.root.add_key(odd, "timestamp")
    repo.new_root()
    assert client.refresh() == 0, client.said


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_each_kind_of_key(new_client: Callable[[TufRepo], Client], kind: str) -> None:
    repo = TufRepo(new_key=getattr(CryptoSigner, f"generate_{kind}"))
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    client = new_client(repo)
    assert client.download("file") == 0, client.said


@pytest.mark.parametrize(
    ("role", "kept"),
    [
        ("root", {"root"}),
        ("timestamp", {"root"}),
        ("snapshot", {"root", "timestamp"}),
        ("targets", {"root", "timestamp", "snapshot"}),
        ("helper", {"root", "timestamp", "snapshot", "targets"}),
    ],
)
def test_unsigned_metadata_is_refused(repo: TufRepo, client: Client, role: str, kept: set[str]) -> None:
    repo.delegate("targets", "helper")
    repo.add_target("helper", "file", b"content")
    repo.unsigned.add(role)
    if role == "root":
        repo.new_root()
    repo.update("targets", "helper")
    assert client.download("file") == 1
    assert set(client.trusted()) == kept
    assert client.trusted()["root"] == repo.first_root
    assert client.downloaded() == {}
