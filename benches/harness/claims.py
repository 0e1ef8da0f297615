"""W8: claimed projects (PEP 480)."""

from __future__ import annotations

from pathlib import Path

from harness.measure import Cost
from harness.report import seconds
from harness.scene import Scene
from helpers.wheels import wheel
from helpers.wheelseal import key

# Claims that one ceremony promotes, and what it may cost: the diff is shown, and signed.
CLAIMS = 10_000
MOST_CEREMONY = 10.0
# Claims made, and applied, by one process.
AT_ONCE = 500
# A release of one project in a repository of 16,384 bins, on either side.
MOST_RELEASE = 0.1

OFFLINE, OWNER = key("targets-1"), key("root-2")


def w8(scene: Scene) -> None:
    """A release beside many bins, and a ceremony for many claims."""
    section = scene.report.section("W8", f"claimed projects: a release, and a promotion of {CLAIMS:,}")
    costs = {**release(scene), **promotion(scene)}
    section.costs(list(costs.items()))
    for name in ("project release", "claims receive"):
        section.at_most(f"CPU of {name}", costs[name].cpu, MOST_RELEASE, seconds)
    ceremony = costs["ceremony show"].cpu + costs["ceremony sign"].cpu
    section.at_most("CPU of showing and signing", ceremony, MOST_CEREMONY, seconds)


def made(scene: Scene, name: str, bins: int) -> tuple[Path, str]:
    """A repository in which projects can be claimed, and the name by which its client trusts it."""
    folder = scene.scratch / name
    keys = ("--root-key", key("root-1"), "--targets-key", OFFLINE, "--online-key", key("online"))
    scene.run("init", "--repo", folder, "--bins", bins, *keys)
    scene.run("claims", "enable", "--repo", folder, "--key", OFFLINE)
    scene.run("trust", "add", name, folder, "--root", folder / "metadata" / "1.root.json")
    return folder, name


def release(scene: Scene) -> dict[str, Cost]:
    """One wheel of a claimed project, signed by its maintainer, applied by the index."""
    folder, trust = made(scene, "claims-release", scene.bins)
    claim, sent = scene.scratch / "seal.claim.json", scene.scratch / "seal.release"
    owner = ("--trust", trust, "--key", OWNER)
    scene.run("project", "claim", "seal", *owner, "--out", claim)
    scene.run("claims", "apply", claim, "--repo", folder)
    file = wheel(scene.scratch, "seal", "1.0")
    signed = scene.run("project", "release", "seal", file, *owner, "--out", sent)
    return {"project release": signed, "claims receive": scene.run("claims", "receive", sent, "--repo", folder)}


def promotion(scene: Scene) -> dict[str, Cost]:
    """Many claims, and the one ceremony that lets the offline keys vouch for them."""
    folder, trust = made(scene, "claims-promotion", 2)
    for first in range(0, CLAIMS, AT_ONCE):
        names = [f"project-{number:05}" for number in range(first, first + AT_ONCE)]
        claims = [scene.scratch / f"{name}.claim.json" for name in names]
        scene.run("project", "claim", *names, "--trust", trust, "--key", OWNER, "--out", scene.scratch)
        scene.run("claims", "apply", *claims, "--repo", folder)
    proposed = scene.run("claims", "promote", "--repo", folder)
    ceremony = ("claims-promote", "--repo", folder)
    return {
        "claims promote (proposes)": proposed,
        "ceremony show": scene.run("ceremony", "show", *ceremony),
        "ceremony sign": scene.run("ceremony", "sign", *ceremony, "--key", OFFLINE, "--yes"),
        "ceremony finish": scene.run("ceremony", "finish", *ceremony),
    }
