"""W7: looking after a large repository."""

from __future__ import annotations

import shutil

from harness.measure import Cost
from harness.report import size
from harness.scene import Scene

# What sorts, and what reads bins on all cores, keeps to this whatever the number of targets.
MOST_MEMORY = 512 * 1024 * 1024
# `check` and `fsck` end with this if something is missing: the targets of W1 have no files.
FOUND = 3


def w7(scene: Scene) -> None:
    """Each command of upkeep, on W1's repository."""
    title = f"upkeep of {scene.targets:,} targets in {scene.bins:,} bins, of which no file is there"
    section = scene.report.section("W7", title)
    folder = scene.imported().folder
    archive, other = scene.scratch / "backup.tar.zst", scene.scratch / "restored"
    costs: dict[str, Cost] = {
        "status": scene.run("status", "--repo", folder),
        "check --sample 1%": scene.run_ending((0, FOUND), "check", "--sample", "1%", "--repo", folder),
        "check": scene.run_ending((0, FOUND), "check", "--repo", folder),
        "fsck": scene.run_ending((0, FOUND), "fsck", "--repo", folder),
        "backup": scene.run("backup", "--to", archive, "--repo", folder),
        "restore": scene.run_ending((0, FOUND), "restore", "--from", archive, "--repo", other),
    }
    scene.run("bump", "--all", "--repo", folder)
    for name in ("gc after a bump", "gc of nothing"):
        costs[name] = scene.run("gc", "--keep", 1, "--grace", 0, "--repo", folder)
    rows = list(costs.items())
    section.costs(rows)
    section.at_most("peak memory of the largest", max(cost.peak for cost in costs.values()), MOST_MEMORY, size)
    archive.unlink()
    shutil.rmtree(other)
