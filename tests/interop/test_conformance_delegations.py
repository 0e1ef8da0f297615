"""Delegations: the order of the search, its end, and role names that look like paths."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import pytest
from helpers.conformance import Client
from helpers.tufrepo import TufRepo

# name, edges (delegator, role, paths, terminating), the target, roles asked for in this order.
# Nobody lists the target, so that all roles that may speak for it are asked.
Edge = tuple[str, str, list[str], bool]
ALL = ["*"]
GRAPHS: list[tuple[str, list[Edge], list[str]]] = [
    ("no delegation", [], []),
    ("one", [("targets", "a", ALL, False)], ["a"]),
    ("two, in their order", [("targets", "b", ALL, False), ("targets", "a", ALL, False)], ["b", "a"]),
    (
        "children before siblings",
        [
            ("targets", "a", ALL, False),
            ("targets", "b", ALL, False),
            ("a", "c", ALL, False),
            ("c", "d", ALL, False),
        ],
        ["a", "c", "d", "b"],
    ),
    (
        "a diamond: the second way to a role is not gone",
        [
            ("targets", "a", ALL, False),
            ("targets", "b", ALL, False),
            ("a", "c", ALL, False),
            ("b", "c", ALL, False),
        ],
        ["a", "c", "b"],
    ),
    (
        "a circle ends",
        [("targets", "a", ALL, False), ("a", "b", ALL, False), ("b", "a", ALL, False)],
        ["a", "b"],
    ),
    ("to itself", [("targets", "a", ALL, False), ("a", "a", ALL, False)], ["a"]),
    (
        "patterns that do not match",
        [("targets", "a", ["other*"], False), ("targets", "b", ["fi?e"], False)],
        ["b"],
    ),
    ("no pattern", [("targets", "a", [], False), ("targets", "b", ALL, False)], ["b"]),
    ("terminating ends the search", [("targets", "a", ALL, True), ("targets", "b", ALL, False)], ["a"]),
    (
        "terminating, with children of its own",
        [("targets", "a", ALL, True), ("targets", "b", ALL, False), ("a", "c", ALL, False)],
        ["a", "c"],
    ),
    (
        "terminating deep down ends everything",
        [
            ("targets", "a", ALL, False),
            ("targets", "b", ALL, False),
            ("a", "c", ALL, True),
            ("a", "d", ALL, False),
        ],
        ["a", "c"],
    ),
    ("terminating, but not for this", [("targets", "a", ["x"], True), ("targets", "b", ALL, False)], ["b"]),
    ("two patterns, one matches", [("targets", "a", ["x", "f*"], False)], ["a"]),
]


def build(repo: TufRepo, edges: list[Edge]) -> None:
    """Makes the graph and puts it out."""
    for delegator, role, paths, terminating in edges:
        repo.delegate(delegator, role, paths=paths, terminating=terminating)
    repo.update(*repo.roles)


def roles_asked(client: Client) -> list[str]:
    """Delegated roles among the requests; all have version 1."""
    names = [request.rpartition("/")[2] for request in client.asked()]
    top = ("targets.json", "snapshot.json", "root.json")
    return [name[2:-5] for name in names if name.startswith("1.") and not name.endswith(top)]


@pytest.mark.parametrize(("name", "edges", "order"), GRAPHS, ids=[row[0] for row in GRAPHS])
def test_order_of_the_search(
    repo: TufRepo, client: Client, name: str, edges: list[Edge], order: list[str]
) -> None:
    build(repo, edges)
    assert client.download("file") == 1
    assert roles_asked(client) == order
    assert set(client.trusted()) == {"root", "timestamp", "snapshot", "targets", *order}


def test_the_first_role_that_lists_the_target_wins(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a")
    repo.delegate("targets", "b")
    repo.delegate("targets", "c")
    repo.add_target("c", "file", b"from c")
    repo.add_target("b", "file", b"from b")
    repo.update("targets", "a", "b", "c")
    assert client.download("file") == 0, client.said
    assert roles_asked(client) == ["a", "b"]
    assert list(client.downloaded().values()) == [b"from b"]


def test_a_role_speaks_only_for_its_paths(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a", paths=["allowed/*"])
    repo.add_target("a", "file", b"not its own")
    repo.update("targets", "a")
    assert client.download("file") == 1
    assert roles_asked(client) == []


def test_a_pattern_does_not_cross_a_slash(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a", paths=["dir/*"])
    repo.add_target("a", "dir/sub/file", b"too deep")
    repo.add_target("a", "dir/file", b"right")
    repo.update("targets", "a")
    assert client.download("dir/sub/file") == 1
    assert client.download("dir/file") == 0, client.said


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "a b", "%2F", "ü", "."])
def test_role_names_that_look_like_paths(repo: TufRepo, client: Client, role: str) -> None:
    repo.delegate("targets", role)
    repo.add_target(role, "file", b"content")
    repo.update("targets", role)
    assert client.download("file") == 0, client.said
    assert f"metadata/1.{quote(role, '')}.json" in client.asked()
    assert client.trusted()[quote(role, "")] == repo.files[f"metadata/1.{quote(role, '')}.json"]
    assert {file.parent for file in client.metadata.rglob("*.json")} == {client.metadata}
    assert not (client.metadata.parent / "delegatedrole.json").exists()


def test_delegated_role_that_is_current_is_not_asked_for_again(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a")
    repo.add_target("a", "file", b"content")
    repo.update("targets", "a")
    assert client.download("file") == 0, client.said
    client.asked()
    assert client.download("file") == 0, client.said
    assert client.asked() == ["metadata/2.root.json", "metadata/timestamp.json"]
    repo.add_target("a", "file", b"new content")
    repo.update("a")
    assert client.download("file") == 0, client.said
    assert "metadata/2.a.json" in client.asked()
    assert client.trusted()["a"] == repo.files["metadata/2.a.json"]


def test_a_delegated_role_that_snapshot_does_not_list_is_not_trusted(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a")
    repo.add_target("a", "file", b"content")
    repo.update("targets", "a")
    del repo.snapshot.meta["a.json"]
    repo.update()
    assert client.download("file") == 1
    assert roles_asked(client) == []


def test_a_delegated_role_signed_by_another_role_is_not_trusted(repo: TufRepo, client: Client) -> None:
    repo.delegate("targets", "a")
    repo.delegate("targets", "b", paths=["nothing"])
    repo.add_target("a", "file", b"content")
    repo.signers["a"] = repo.signers["b"]
    repo.update("targets", "a", "b")
    assert client.download("file") == 1
    assert "a" not in client.trusted()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_succinct_bins(repo: TufRepo, client: Client, bits: int) -> None:
    names = repo.delegate_succinct("targets", bits, "bin")
    expected = {}
    for number in range(6):
        path = f"dir/file-{number}"
        name = repo.roles["targets"].delegations.succinct_roles.get_role_for_target(path)
        repo.add_target(name, path, path.encode())
        expected[path] = name
    repo.update("targets", *names)
    for path, name in expected.items():
        assert client.download(path) == 0, client.said
        assert name in client.trusted()
    assert set(client.trusted()) == {"root", "timestamp", "snapshot", "targets", *expected.values()}


def test_hash_prefixes(repo: TufRepo, client: Client) -> None:
    for digit in "0123456789abcdef":
        repo.delegate("targets", f"bin-{digit}", prefixes=[digit])
    wanted: dict[str, str] = {}
    for number in range(6):
        path = f"file-{number}"
        wanted[path] = f"bin-{hashlib.sha256(path.encode()).hexdigest()[0]}"
        repo.add_target(wanted[path], path, path.encode())
    repo.update(*repo.roles)
    assert client.download(*wanted) == 0, client.said
    assert set(client.trusted()) == {"root", "timestamp", "snapshot", "targets", *wanted.values()}
