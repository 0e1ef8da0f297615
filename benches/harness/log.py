"""What a transparency log costs: checks, sizes, durable appends, a log of PyPI's size."""

from __future__ import annotations

import json
from typing import Any

from harness.measure import Process
from harness.report import say, seconds, size
from harness.scene import Scene

# Leaves of the append whose rate is a goal.
APPENDED = 100_000
# The largest log is held against one with so many times fewer leaves.
SMALLER = 17
LEAST_RATE = 100_000
LEAST_SHARE = 0.5


def figures(scene: Scene) -> None:
    """All of it, by benches/tlog.rs."""
    section = scene.report.section("log", "what a transparency log costs")
    found = tlog(scene, "--leaves", min(APPENDED, scene.leaves))
    check, hundred, sizes = found["check"], found["hundred"], found["sizes"]
    ratio = check["inclusion"] / check["floor"]
    section.table(
        ["CPU of checks, in a log of 17,000,000 leaves", ""],
        [
            ["26 SHA-256, the floor", micro(check["floor"])],
            ["one inclusion proof", micro(check["inclusion"])],
            ["100 targets, one checkpoint with 3 cosignatures, one proof", seconds(hundred["one_proof"])],
            ["100 targets, one checkpoint with 3 cosignatures, 100 proofs", seconds(hundred["a_proof_each"])],
        ],
    )
    one, many = sizes["one"], sizes["hundred"]
    section.table(
        ["a client fetches", "proof files", "one proof for all", "checkpoint and tiles", "requests by tiles"],
        [
            ["1 target", size(one["proofs"]), "", size(one["tiles"]), str(one["requests_by_tiles"])],
            ["100 targets", size(many["proofs"]), size(many["one_proof"]), size(many["tiles"]), str(many["requests_by_tiles"])],
        ],
    )
    rows = [append_row(found[name]) for name in ("append", "publication")]
    section.table(["leaves", "append", "the disk alone", "leaves a second", "rounds", "bytes"], rows)
    section.figures.update(found)
    section.at_most("an inclusion check, in times its hashes", ratio, 1.2)
    section.at_most("CPU of 100 targets by one proof", hundred["one_proof"], 0.002, seconds)
    section.at_most("CPU of 100 targets by a proof each", hundred["a_proof_each"], 0.002, seconds)
    section.at_most("bytes of a proof file", sizes["proof"], 2_100, str)
    append = found["append"]
    share = append["disk_seconds"] / append["seconds"]
    section.note(f"the append has {share:.2f} of the disk's own rate: the same bytes in as many rounds of flushing")
    disk = append["leaves"] / append["disk_seconds"]
    goal = min(LEAST_RATE, LEAST_SHARE * disk)
    section.at_least("leaves appended in a second, durably", append["leaves"] / append["seconds"], goal)
    memory(scene, section)


def memory(scene: Scene, section: Any) -> None:
    """Peak memory of a large log beside a smaller one's."""
    rows, peaks = [], []
    for leaves in (max(scene.leaves // SMALLER, 1), scene.leaves):
        say(f"(appending {leaves:,} leaves)")
        found = tlog(scene, "--large", leaves)
        peaks.append(found["peak"])
        rate = f"{leaves / found['seconds']:,.0f}"
        rows.append([f"{leaves:,}", seconds(found["seconds"]), rate, size(found["peak"])])
    section.table(["leaves in one append", "wall", "leaves a second", "peak memory"], rows)
    section.figures["peaks"] = peaks
    section.at_most(f"peak memory, in times that of 1/{SMALLER} of the leaves", peaks[1] / peaks[0], 1.25)


def tlog(scene: Scene, *arguments: object) -> dict[str, Any]:
    """What benches/tlog.rs says."""
    env = {**scene.env, "TMPDIR": str(scene.scratch)}
    command = [scene.bench("tlog"), *arguments, "--dir", scene.scratch]
    return json.loads(Process(command, env, False, scene.scratch / "stderr.log").wait()[1])


def append_row(append: dict[str, float]) -> list[str]:
    """One append beside the disk."""
    rate = f"{append['leaves'] / append['seconds']:,.0f}"
    wall = [seconds(append["seconds"]), seconds(append["disk_seconds"])]
    return [f"{append['leaves']:,}", *wall, rate, str(append["rounds"]), size(append["bytes"])]


def micro(value: float) -> str:
    """In microseconds."""
    return f"{value * 1e6:.2f} µs"
