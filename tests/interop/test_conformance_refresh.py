"""Updating top-level metadata: what is asked for, what is kept, which rollbacks are refused."""

from __future__ import annotations

from typing import Callable

import pytest
from helpers.conformance import Client
from helpers.tufrepo import TufRepo, in_days

FIRST = [
    "metadata/2.root.json",
    "metadata/timestamp.json",
    "metadata/1.snapshot.json",
    "metadata/1.targets.json",
]
NOTHING_NEW = ["metadata/2.root.json", "metadata/timestamp.json"]


def versions(repo: TufRepo) -> dict[str, int]:
    """What the repository has out now."""
    return {
        "root": repo.root.version,
        "timestamp": repo.timestamp.version,
        "snapshot": repo.snapshot.version,
        "targets": repo.roles["targets"].version,
    }


def served(repo: TufRepo, **changed: int) -> dict[str, bytes]:
    """The bytes of these versions, as a client must have them."""
    wanted = {**versions(repo), **changed}
    names = {role: f"metadata/{version}.{role}.json" for role, version in wanted.items()}
    names["timestamp"] = "metadata/timestamp.json"
    return {role: repo.files[name] for role, name in names.items()}


def test_init_asks_nothing(repo: TufRepo, client: Client) -> None:
    assert client.asked() == []
    assert client.trusted() == {"root": repo.first_root}


def test_first_refresh_asks_for_four_files_and_keeps_their_bytes(repo: TufRepo, client: Client) -> None:
    assert client.refresh() == 0, client.said
    assert client.asked() == FIRST
    assert client.trusted() == served(repo)


def test_second_refresh_asks_for_root_and_timestamp_alone(repo: TufRepo, client: Client) -> None:
    assert client.refresh() == 0, client.said
    client.asked()
    assert client.refresh() == 0, client.said
    assert client.asked() == NOTHING_NEW
    assert client.trusted() == served(repo)


def test_only_what_changed_is_asked_for(repo: TufRepo, client: Client) -> None:
    assert client.refresh() == 0, client.said
    client.asked()
    repo.update()
    assert client.refresh() == 0, client.said
    assert client.asked() == [*NOTHING_NEW, "metadata/2.snapshot.json"]
    repo.update("targets")
    assert client.refresh() == 0, client.said
    assert client.asked() == [*NOTHING_NEW, "metadata/3.snapshot.json", "metadata/2.targets.json"]
    assert client.trusted() == served(repo)


def test_without_consistent_snapshots_names_have_no_version(new_client: Callable[[TufRepo], Client]) -> None:
    repo = TufRepo(consistent=False)
    client = new_client(repo)
    assert client.refresh() == 0, client.said
    assert client.asked() == [*NOTHING_NEW, "metadata/snapshot.json", "metadata/targets.json"]


def test_a_repository_that_cannot_be_reached_is_an_error(repo: TufRepo, client: Client) -> None:
    del repo.files["metadata/timestamp.json"]
    assert client.refresh() == 1
    assert client.trusted() == {"root": repo.first_root}


@pytest.mark.parametrize("file", ["1.snapshot.json", "1.targets.json"])
def test_a_missing_file_is_an_error_and_what_was_verified_stays(
    repo: TufRepo, client: Client, file: str
) -> None:
    body = repo.files.pop(f"metadata/{file}")
    assert client.refresh() == 1
    repo.files[f"metadata/{file}"] = body
    client.asked()
    assert client.refresh() == 0, client.said
    assert client.asked()[-1] == "metadata/1.targets.json"
    assert client.trusted() == served(repo)


def test_timestamp_never_goes_back(repo: TufRepo, client: Client) -> None:
    old = repo.files["metadata/timestamp.json"]
    repo.update()
    assert client.refresh() == 0, client.said
    good = client.trusted()
    repo.files["metadata/timestamp.json"] = old
    assert client.refresh() == 1
    assert client.trusted() == good


def test_an_equal_timestamp_version_keeps_the_old_file(repo: TufRepo, client: Client) -> None:
    assert client.refresh() == 0, client.said
    good = client.trusted()
    repo.timestamp.expires = in_days(200)
    repo.put_timestamp()
    assert client.refresh() == 0, client.said
    assert client.trusted() == good


def test_snapshot_never_goes_back_in_timestamp(repo: TufRepo, client: Client) -> None:
    repo.update()
    assert client.refresh() == 0, client.said
    good = client.trusted()
    repo.timestamp.snapshot_meta.version = 1
    repo.timestamp.version += 1
    repo.put_timestamp()
    client.asked()
    assert client.refresh() == 1
    assert client.asked() == NOTHING_NEW
    assert client.trusted() == good


def test_snapshot_has_the_version_that_timestamp_names(repo: TufRepo, client: Client) -> None:
    repo.files["metadata/2.snapshot.json"] = repo.files["metadata/1.snapshot.json"]
    repo.timestamp.snapshot_meta.version = 2
    repo.timestamp.version = 2
    repo.put_timestamp()
    assert client.refresh() == 1
    assert client.trusted() == {"root": repo.first_root, "timestamp": repo.files["metadata/timestamp.json"]}


def test_targets_never_goes_back_in_snapshot(repo: TufRepo, client: Client) -> None:
    repo.update("targets")
    assert client.refresh() == 0, client.said
    good = client.trusted()
    repo.snapshot.meta["targets.json"].version = 1
    repo.update()
    assert client.refresh() == 1
    assert client.trusted() == {**good, "timestamp": repo.files["metadata/timestamp.json"]}


def test_targets_has_the_version_that_snapshot_names(repo: TufRepo, client: Client) -> None:
    repo.files["metadata/2.targets.json"] = repo.files["metadata/1.targets.json"]
    repo.snapshot.meta["targets.json"].version = 2
    repo.update()
    assert client.refresh() == 1
    assert "targets" not in client.trusted()


def test_a_role_never_disappears_from_snapshot(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "helper")
    repo.update("targets", "helper")
    assert client.refresh() == 0, client.said
    del repo.snapshot.meta["helper.json"]
    repo.update()
    assert client.refresh() == 1


@pytest.mark.parametrize("rotated", ["timestamp", "snapshot"])
def test_new_keys_recover_from_a_version_that_was_driven_up(
    repo: TufRepo, client: Client, rotated: str
) -> None:
    """Fast-forward: the thief of a key leaves the highest versions behind. New keys make clients forget them."""
    repo.timestamp.version = 99_999
    repo.snapshot.version = 99_999
    repo.put_snapshot()
    repo.put_timestamp()
    assert client.refresh() == 0, client.said
    repo.snapshot.version = repo.timestamp.version = 1
    repo.put_snapshot()
    repo.put_timestamp()
    assert client.refresh() == 1
    repo.rotate(rotated)
    repo.new_root()
    repo.put_snapshot()
    repo.put_timestamp()
    assert client.refresh() == 0, client.said
    assert client.trusted() == served(repo)


def test_new_snapshot_keys_recover_from_a_targets_version_that_was_driven_up(
    repo: TufRepo, client: Client
) -> None:
    repo.roles["targets"].version = 99_999
    repo.put("targets")
    repo.update()
    assert client.refresh() == 0, client.said
    repo.rotate("snapshot")
    repo.new_root()
    repo.roles["targets"].version = 2
    repo.put("targets")
    repo.update()
    assert client.refresh() == 0, client.said
    assert client.trusted() == served(repo)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
@pytest.mark.parametrize("wrong", ["shorter", "longer", "another hash"])
def test_announced_length_and_hash_are_checked(
    new_client: Callable[[TufRepo], Client], role: str, wrong: str
) -> None:
    repo = TufRepo(hashes=True)
    client = new_client(repo)
    meta = repo.timestamp.snapshot_meta if role == "snapshot" else repo.snapshot.meta["targets.json"]
    if wrong != "another hash":
        meta.length += 1 if wrong == "shorter" else -1
    else:
        meta.hashes = {"sha256": "0" * 64}
    if role == "targets":
        repo.put_snapshot()
    repo.put_timestamp()
    assert client.refresh() == 1
    assert role not in client.trusted()


def test_right_lengths_and_hashes_are_accepted(new_client: Callable[[TufRepo], Client]) -> None:
    repo = TufRepo(hashes=True)
    client = new_client(repo)
    assert client.refresh() == 0, client.said
    assert client.trusted() == served(repo)
