"""Artifacts: downloaded once, never replaced by what was not signed."""

from __future__ import annotations

import hashlib
import os
from typing import Callable

import pytest
from helpers.conformance import Client
from helpers.tufrepo import TufRepo
from tuf.api.metadata import TargetFile

PATHS = ["file", "dir/file", "deep/er/still/file.tar.gz", "name with spaces", "q?uery#frag", "ü.whl", "a%20b"]


@pytest.mark.parametrize("path", PATHS)
def test_a_download(repo: TufRepo, client: Client, path: str) -> None:
    repo.add_target("targets", path, b"content")
    repo.update("targets")
    assert client.download(path) == 0, client.said
    assert list(client.downloaded().values()) == [b"content"]


def test_a_second_download_asks_for_nothing_and_touches_nothing(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    assert client.download("file") == 0, client.said
    (file,) = client.downloaded()
    os.utime(file, (1_000_000_000, 1_000_000_000))
    client.asked()
    assert client.download("file") == 0, client.said
    assert client.asked() == ["metadata/2.root.json", "metadata/timestamp.json"]
    assert file.stat().st_mtime == 1_000_000_000


def test_new_content_has_the_same_name_on_disk(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "dir/file", b"old")
    repo.update("targets")
    assert client.download("dir/file") == 0, client.said
    (file,) = client.downloaded()
    repo.add_target("targets", "dir/file", b"new content")
    repo.update("targets")
    assert client.download("dir/file") == 0, client.said
    assert client.downloaded() == {file: b"new content"}


def test_a_local_file_that_was_changed_is_downloaded_again(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    assert client.download("file") == 0, client.said
    (file,) = client.downloaded()
    file.write_bytes(b"CONTENT")
    assert client.download("file") == 0, client.said
    assert client.downloaded() == {file: b"content"}


@pytest.mark.parametrize("evil", [b"CONTENT", b"content, and more", b"cont", b""])
def test_another_file_is_refused_and_nothing_is_left(repo: TufRepo, client: Client, evil: bytes) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    served = f"targets/{hashlib.sha256(b'content').hexdigest()}.file"
    repo.files[served] = evil
    assert client.download("file") == 1
    assert client.downloaded() == {}
    repo.files[served] = b"content"
    assert client.download("file") == 0, client.said


def test_another_file_does_not_replace_a_good_one(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    assert client.download("file") == 0, client.said
    before = client.downloaded()
    repo.add_target("targets", "file", b"new content")
    repo.update("targets")
    repo.files[f"targets/{hashlib.sha256(b'new content').hexdigest()}.file"] = b"evil content"[:11]
    assert client.download("file") == 1
    assert client.downloaded() == before


def test_a_target_that_nobody_signed_is_not_asked_for(repo: TufRepo, client: Client) -> None:
    repo.files["targets/file"] = b"content"
    assert client.download("file") == 1
    assert not [path for path in client.asked() if path.startswith("targets/")]


def test_a_removed_target_is_not_served_from_the_cache(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "file", b"content")
    repo.update("targets")
    assert client.download("file") == 0, client.said
    del repo.roles["targets"].targets["file"]
    repo.update("targets")
    assert client.download("file") == 1


def test_several_targets_are_one_refresh(repo: TufRepo, client: Client) -> None:
    contents = {f"file-{number}": f"content {number}".encode() for number in range(4)}
    for path, content in contents.items():
        repo.add_target("targets", path, content)
    repo.update("targets")
    assert client.download(*contents) == 0, client.said
    asked = client.asked()
    assert asked[:4] == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
    ]
    order = [f"targets/{hashlib.sha256(content).hexdigest()}.{path}" for path, content in contents.items()]
    assert asked[4:] == order
    assert sorted(client.downloaded().values()) == sorted(contents.values())


def test_several_targets_stop_at_the_first_that_fails(repo: TufRepo, client: Client) -> None:
    repo.add_target("targets", "first", b"first")
    repo.add_target("targets", "last", b"last")
    repo.update("targets")
    assert client.download("first", "missing", "last") == 1
    assert list(client.downloaded().values()) == [b"first"]


def test_without_consistent_snapshots_the_name_has_no_hash(new_client: Callable[[TufRepo], Client]) -> None:
    repo = TufRepo(consistent=False)
    repo.add_target("targets", "dir/file", b"content")
    repo.update("targets")
    client = new_client(repo)
    assert client.download("dir/file") == 0, client.said
    assert client.asked()[-1] == "targets/dir/file"


def test_a_file_for_which_only_sha512_is_signed(repo: TufRepo, client: Client) -> None:
    file = TargetFile.from_data("file", b"content", ["sha512"])
    repo.roles["targets"].targets["file"] = file
    repo.files[f"targets/{file.hashes['sha512']}.file"] = b"content"
    repo.update("targets")
    assert client.download("file") == 0, client.said
