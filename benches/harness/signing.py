"""W1, W1b and W5: signing everything."""

from __future__ import annotations

import json
from pathlib import Path

from harness.measure import Cost
from harness.report import seconds, size
from harness.scene import ONLINE, P256, Imported, Scene

LIMIT_FACTOR = 1.3
WALL_SHARE = 0.65
PYPI_TODAY = 18_000_000


def limit(scene: Scene, targets: int, repo: Path, name: str) -> tuple[float, list[list[str]]]:
    """The CPU seconds below which nobody gets, from raw rates: the sum, and its parts."""
    bins, snapshot = bin_sizes(repo)
    mean = sum(bins) // len(bins)
    flags = ["--bin", mean, "--snapshot", snapshot, "--files", len(bins), "--dir", scene.scratch]
    rates = scene.rates(*flags, "--tsv", scene.data.tsv(targets))
    written = sum(bins) + snapshot
    once = rates[f"sign_{name}_snapshot"] + rates[f"sign_{name}_timestamp"]
    parts = [
        (
            f"{len(bins):,} signatures of {size(mean)}, snapshot, timestamp",
            len(bins) * rates[f"sign_{name}_bin"] + once,
        ),
        (f"SHA-256 of {targets:,} paths", targets * rates["sha256_path"]),
        ("reading the list and finding its fields", rates["scan_tsv"]),
        (f"copying {size(written)} twice", 2 * written * rates["copy_byte"]),
        (f"creating and writing {len(bins):,} files", rates["write_files"]),
    ]
    total = sum(cost for _, cost in parts)
    return total, [[what, seconds(cost)] for what, cost in [*parts, ("together", total)]]


def bin_sizes(repo: Path) -> tuple[list[int], int]:
    """Bytes of the newest version of each bin, and of the newest snapshot."""
    metadata = repo / "metadata"
    version = json.loads((metadata / "timestamp.json").read_text())["signed"]["meta"]["snapshot.json"][
        "version"
    ]
    snapshot = metadata / f"{version}.snapshot.json"
    meta = json.loads(snapshot.read_text())["signed"]["meta"]
    bins = [
        (metadata / f"{entry['version']}.{name}").stat().st_size
        for name, entry in meta.items()
        if name.startswith("bins-")
    ]
    return bins, snapshot.stat().st_size


def w1(scene: Scene) -> None:
    """Sign a list of targets, durably."""
    title = f"sign {scene.targets:,} targets into {scene.bins:,} bins, durably"
    section = scene.report.section("W1", title)
    ours = scene.imported()
    ecdsa = scene.imported(online=P256)
    peers = {style: scene.signed_by_peer(style) for style in ("prefixes", "succinct")}
    section.costs(
        [
            ("wheelseal import", ours.imported),
            ("wheelseal import, online keys P-256", ecdsa.imported),
            ("wheelseal init, before it", ours.init),
            *((f"python-tuf, {style}", cost) for style, (_, cost) in peers.items()),
        ]
    )
    cpu = min(cost.cpu for _, cost in peers.values())
    peak = min(cost.peak for _, cost in peers.values())
    section.fraction("CPU of python-tuf's", ours.imported.cpu, cpu, 10)
    section.fraction("peak memory of python-tuf's", ours.imported.peak, peak, 3)
    for name, signer, imported in (("Ed25519", "ed25519", ours), ("P-256", "p256", ecdsa)):
        floor, parts = limit(scene, scene.targets, imported.folder, signer)
        section.figures[f"limit {name}"] = floor
        section.table([f"computed limit with {name}", "CPU"], parts)
        section.at_most(f"CPU, in computed limits ({name})", imported.imported.cpu / floor, LIMIT_FACTOR)
    section.at_most("wall, of CPU", ours.imported.wall / ours.imported.cpu, WALL_SHARE)
    compared = same_bin(scene, ours, 7)
    what = f"bin 7, {compared['targets']} targets, {compared['bytes']} bytes: python-tuf signs the same"
    section.holds(what, "yes" if compared["same"] else "no", compared["same"])
    scene.forget(ecdsa)


def same_bin(scene: Scene, imported: Imported, number: int) -> dict[str, int]:
    """Compares one bin with python-tuf's."""
    file = newest_bin(imported.folder, scene.bins, number)
    return scene.peer("same_bin.py", scene.data.tsv(scene.targets), file, scene.bins, number)[1]


def newest_bin(repo: Path, bins: int, number: int) -> Path:
    """The file of a bin, of the highest version that is there."""
    name = f"bins-{number:0{len(f'{bins - 1:x}')}x}.json"
    files = (repo / "metadata").glob(f"*.{name}")
    return max(files, key=lambda file: int(file.name.partition(".")[0]))


def w1b(scene: Scene) -> None:
    """The same with as many targets as PyPI has today: time and memory must not run away."""
    section = scene.report.section("W1b", f"sign {PYPI_TODAY:,} targets into {scene.bins:,} bins")
    small, large = scene.imported(), scene.imported(PYPI_TODAY)
    section.costs(
        [
            (f"wheelseal import, {scene.targets:,}", small.imported),
            (f"wheelseal import, {PYPI_TODAY:,}", large.imported),
        ]
    )
    per = [imported.imported.cpu / count for imported, count in ((small, scene.targets), (large, PYPI_TODAY))]
    section.at_most("CPU for one target, of W1's", per[1] / per[0], 1.0)
    section.at_most("peak memory", large.imported.peak, MOST_MEMORY, size)
    scene.forget(large)


MOST_MEMORY = 512 * 1024 * 1024


def w5(scene: Scene) -> None:
    """Sign all bins anew, as PEP 458 has it done each day."""
    section = scene.report.section("W5", f"sign {scene.bins:,} bins anew")
    repositories = {"Ed25519": scene.imported(), "P-256": scene.imported(online=P256)}
    ours = {
        name: scene.run("bump", "--repo", made.folder, "--all") for name, made in repositories.items()
    }
    folder, _ = scene.signed_by_peer("succinct")
    peer = scene.peer("resign.py", folder, scene.bins, "succinct", ONLINE)[0]
    rows = [("wheelseal bump --all", ours["Ed25519"])]
    rows += [("wheelseal bump --all, online keys P-256", ours["P-256"]), ("python-tuf", peer)]
    section.costs(rows)
    section.fraction("CPU of python-tuf's", ours["Ed25519"].cpu, peer.cpu, 10)
    for name, signer in (("Ed25519", "ed25519"), ("P-256", "p256")):
        floor, parts = renewal_limit(scene, repositories[name].folder, signer)
        section.figures[f"limit {name}"] = floor
        section.table([f"computed limit with {name}", "CPU"], parts)
        section.note(
            f"With {name}, wheelseal takes {ours[name].cpu / floor:.2f} computed limits; "
            f"the limit is 1/{peer.cpu / floor:.1f} of python-tuf's CPU with Ed25519."
        )
    scene.forget(repositories["P-256"])


def renewal_limit(scene: Scene, repo: Path, name: str) -> tuple[float, list[list[str]]]:
    """The same for signing all bins anew, each checked before it is signed."""
    bins, snapshot = bin_sizes(repo)
    mean = sum(bins) // len(bins)
    rates = scene.rates("--bin", mean, "--snapshot", snapshot, "--files", len(bins), "--dir", scene.scratch)
    once = rates[f"sign_{name}_snapshot"] + rates[f"sign_{name}_timestamp"]
    parts = [
        (f"reading {len(bins):,} files of {size(mean)}", rates["read_files"]),
        (f"checking {len(bins):,} signatures", len(bins) * rates[f"check_{name}_bin"]),
        (f"{len(bins):,} signatures, snapshot, timestamp", len(bins) * rates[f"sign_{name}_bin"] + once),
        (f"creating and writing {len(bins):,} files", rates["write_files"]),
    ]
    total = sum(cost for _, cost in parts)
    return total, [[what, seconds(cost)] for what, cost in [*parts, ("together", total)]]
