"""W8: claimed projects (PEP 480)."""

from __future__ import annotations

import json
from pathlib import Path

from harness.measure import Cost
from harness.report import Section, seconds, size
from harness.scene import Scene
from helpers.wheels import wheel
from helpers.wheelseal import key

# Projects that the offline keys vouch for already, and claims that one ceremony promotes.
CLAIMED, CLAIMS = 750_000, 10_000
# CPU seconds of that ceremony: the diff is shown, and signed.
MOST_CEREMONY = 10.0
# Claims made, and applied, by one process.
AT_ONCE = 100
# CPU seconds of a release of one project in a repository of 16,384 bins, on either side.
MOST_RELEASE = 0.1
# Files that a client fetches for a claimed project beside the top-level ones, and bytes of each.
MOST_FILES, MOST_FILE = 3, 300_000
# Exit code of a command that leaves a ceremony.
WAITS = (6,)

OFFLINE, ONLINE, OWNER = key("targets-1"), key("online"), key("root-2")


def w8(scene: Scene) -> None:
    """A release beside many bins, and a ceremony for many claims among many more."""
    title = f"claimed projects: a release, and a promotion of {CLAIMS:,} among {CLAIMED:,}"
    section = scene.report.section("W8", title)
    costs = release(scene)
    folder, trust = many(scene)
    costs |= claims(scene, folder, trust)
    costs |= promotion(scene, folder, section)
    costs |= look_up(scene, folder, trust, section)
    section.costs(list(costs.items()))
    for name in ("project release", "claims receive"):
        section.at_most(f"CPU of {name}", costs[name].cpu, MOST_RELEASE, seconds)
    signing = costs["ceremony sign, which shows it first"].cpu
    section.at_most("CPU of showing and signing", signing, MOST_CEREMONY, seconds)
    each = costs[f"claims apply, {AT_ONCE}"].cpu / AT_ONCE
    section.at_most("CPU of each claim of many", each, MOST_RELEASE, seconds)


def made(scene: Scene, name: str, bins: int) -> tuple[Path, str]:
    """A repository in which projects can be claimed, and the name by which its client trusts it."""
    folder = scene.scratch / name
    keys = ("--root-key", key("root-1"), "--targets-key", OFFLINE, "--online-key", ONLINE)
    scene.run("init", "--claims", "--repo", folder, "--bins", bins, *keys)
    scene.run("trust", "add", name, folder, "--root", folder / "metadata" / "1.root.json")
    return folder, name


def release(scene: Scene) -> dict[str, Cost]:
    """One wheel of a claimed project, signed by its maintainer, applied by the index."""
    folder, trust = made(scene, "claims-release", scene.bins)
    released = claimed(scene, folder, trust, "seal")
    return {"project release": released[0], "claims receive": released[1]}


def claimed(scene: Scene, folder: Path, trust: str, project: str) -> tuple[Cost, Cost]:
    """Claims a project, and releases a wheel of it: what that costs its maintainer, and the index."""
    claim, sent = scene.scratch / f"{trust}-{project}.json", scene.scratch / f"{trust}-{project}.release"
    owner = ("--trust", trust, "--key", OWNER)
    scene.run("project", "claim", project, *owner, "--out", claim)
    scene.run("claims", "apply", claim, "--repo", folder)
    file = wheel(scene.scratch / f"{trust}-files", project, "1.0")
    signed = scene.run("project", "release", project, file, *owner, "--out", sent)
    return signed, scene.run("claims", "receive", sent, "--repo", folder)


def many(scene: Scene) -> tuple[Path, str]:
    """A repository of many claimed projects, made without wheelseal."""
    folder, trust = made(scene, "claims-many", 2)
    scene.peer("claimed.py", folder, CLAIMED, CLAIMS - AT_ONCE - 1, OFFLINE, ONLINE)
    return folder, trust


def claims(scene: Scene, folder: Path, trust: str) -> dict[str, Cost]:
    """Claims one by one, and many at once, beside all that there are."""
    signed, received = claimed(scene, folder, trust, "seal")
    names = [f"at-once-{number:05}" for number in range(AT_ONCE)]
    files = [scene.scratch / f"{name}.claim.json" for name in names]
    scene.run("project", "claim", *names, "--trust", trust, "--key", OWNER, "--out", scene.scratch)
    return {
        f"project release, {CLAIMED:,} claimed": signed,
        f"claims receive, {CLAIMED:,} claimed": received,
        f"claims apply, {AT_ONCE}": scene.run("claims", "apply", *files, "--repo", folder),
    }


def promotion(scene: Scene, folder: Path, section: Section) -> dict[str, Cost]:
    """The one ceremony by which the offline keys vouch for all that wait."""
    proposed = scene.run_ending(WAITS, "claims", "promote", "--repo", folder)
    event = folder / "staging" / "ceremonies" / "claims-promote.json"
    section.note(f"The ceremony's file has {size(event.stat().st_size)}.")
    ceremony = ("claims-promote", "--repo", folder)
    return {
        "claims promote, which proposes": proposed,
        "ceremony show": scene.run("ceremony", "show", *ceremony),
        "ceremony sign, which shows it first": scene.run(
            "ceremony", "sign", *ceremony, "--key", OFFLINE, "--yes"
        ),
        "ceremony finish": scene.run("ceremony", "finish", *ceremony),
    }


def look_up(scene: Scene, folder: Path, trust: str, section: Section) -> dict[str, Cost]:
    """What a client with nothing but a root fetches for a file of a promoted project."""
    scene.run("trust", "add", "claims-client", folder, "--root", folder / "metadata" / "1.root.json")
    file = scene.scratch / f"{trust}-files" / "seal-1.0-py3-none-any.whl"
    names = {"cold": "a client, cold", "again": "the same client once more"}
    costs = {said: scene.run("verify", "--trust", "claims-client", file) for said in names.values()}
    cache = scene.scratch / "home" / "XDG_STATE_HOME" / "wheelseal" / "claims-client" / "metadata"
    top = {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
    fetched = {path.name: path.stat().st_size for path in cache.glob("*.json") if path.name not in top}
    section.note(f"Beside the top-level files the client has {json.dumps(fetched, sort_keys=True)}.")
    section.at_most("files for a lookup", len(fetched), MOST_FILES)
    section.at_most("the largest of them", max(fetched.values()), MOST_FILE, size)
    return costs
