"""Expiry: nothing new is trusted after its date; what was trusted stays a reference for rollback checks."""

from __future__ import annotations

import pytest
from helpers.conformance import Client
from helpers.tufrepo import TufRepo, in_days

PAST = in_days(-2)


def expire(repo: TufRepo, role: str) -> None:
    """Serves a new version of a role that expired two days ago."""
    if role == "root":
        repo.root.expires = PAST
        repo.new_root()
    elif role == "timestamp":
        repo.timestamp.expires = PAST
        repo.update()
    elif role == "snapshot":
        repo.snapshot.expires = PAST
        repo.update()
    else:
        repo.roles["targets"].expires = PAST
        repo.update("targets")


# Role that expired, and what is stored nevertheless: what was verified before it.
STORED = [
    ("root", {"root"}),
    ("timestamp", set()),
    ("snapshot", {"timestamp"}),
    ("targets", {"timestamp", "snapshot"}),
]


@pytest.mark.parametrize(("role", "stored"), STORED)
def test_expired_metadata_is_refused(repo: TufRepo, client: Client, role: str, stored: set[str]) -> None:
    expire(repo, role)
    assert client.refresh() == 1
    assert set(client.trusted()) == stored | {"root"}
    assert "expired" in client.said


@pytest.mark.parametrize(("role", "stored"), STORED)
def test_expired_metadata_does_not_replace_what_is_trusted(
    repo: TufRepo, client: Client, role: str, stored: set[str]
) -> None:
    assert client.refresh() == 0, client.said
    before = client.trusted()
    expire(repo, role)
    assert client.refresh() == 1
    after = client.trusted()
    assert {name for name in before if before[name] != after[name]} == stored


def test_an_expired_root_in_the_middle_of_the_chain_is_fine(repo: TufRepo, client: Client) -> None:
    good = repo.root.expires
    expire(repo, "root")
    repo.root.expires = good
    repo.new_root()
    assert client.refresh() == 0, client.said
    assert client.trusted()["root"] == repo.files["metadata/3.root.json"]


def test_an_expired_delegated_role_is_refused(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "helper")
    repo.add_target("helper", "file", b"content")
    repo.roles["helper"].expires = PAST
    repo.update("targets", "helper")
    assert client.download("file") == 1
    assert client.downloaded() == {}
    assert "helper" not in client.trusted()


@pytest.mark.usefixtures("clock")
def test_nothing_can_be_refreshed_after_the_repository_went_silent(repo: TufRepo, client: Client) -> None:
    assert client.refresh() == 0, client.said
    good = client.trusted()
    assert client.refresh(at="+11d") == 1
    assert client.trusted() == good


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("at", "life"), [("+11d", 20), ("+31d", 60)])
def test_a_local_timestamp_and_snapshot_that_expired_are_replaced(
    repo: TufRepo, client: Client, at: str, life: int
) -> None:
    assert client.refresh() == 0, client.said
    repo.timestamp.expires = repo.snapshot.expires = in_days(life)
    repo.update()
    assert client.refresh(at=at) == 0, client.said
    assert client.trusted()["timestamp"] == repo.files["metadata/timestamp.json"]
    assert client.trusted()["snapshot"] == repo.files["metadata/2.snapshot.json"]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_local_metadata_still_refuses_rollbacks(repo: TufRepo, client: Client, role: str) -> None:
    repo.update("targets")
    assert client.refresh() == 0, client.said
    repo.timestamp.expires = repo.snapshot.expires = in_days(60)
    if role == "targets":
        repo.snapshot.meta["targets.json"].version = 1
        repo.update()
    elif role == "snapshot":
        repo.snapshot.version = 1
        repo.timestamp.version = 3
        repo.put_snapshot()
    else:
        repo.timestamp.version = 1
    repo.put_timestamp()
    assert client.refresh(at="+40d") == 1
    assert f"{role} went back" in client.said


@pytest.mark.usefixtures("clock")
def test_targets_of_a_repository_that_went_silent_are_not_served(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    assert client.download("file") == 0, client.said
    assert client.download("file", at="+11d") == 1
