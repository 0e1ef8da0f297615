"""W6: how the costs of W1, W2 and W3 grow with targets and with bins."""

from __future__ import annotations

from dataclasses import dataclass

from harness.clients import visit_all
from harness.measure import median
from harness.plot import Chart, figure
from harness.report import seconds, size
from harness.scene import Scene

TARGETS = (10_000, 100_000, 1_000_000)
MOST = 18_000_000
BINS = (256, 1_024, 4_096, 16_384, 65_536)
BINS_TARGETS = 227_354
RUNS = 5


@dataclass
class Point:
    """The costs at one size: CPU seconds, and bytes."""

    targets: int
    bins: int
    sign: float
    peak: int
    publish: float
    cold: float
    warm: float
    metadata: int


def point(scene: Scene, targets: int, bins: int) -> Point:
    """Measures one size. The repository of the usual size stays for other workloads."""
    imported = scene.imported(targets, bins)
    publish = median([scene.run("add", "--repo", imported.folder, scene.wheel()) for _ in range(RUNS)])
    visits = visit_all(scene, imported.folder, RUNS, peer=False)
    cold, warm = visits["wheelseal", "cold"], visits["wheelseal", "warm"]
    measured = Point(
        targets,
        bins,
        imported.imported.cpu,
        imported.imported.peak,
        publish.cpu,
        median(cold.costs).cpu,
        median(warm.costs).cpu,
        cold.metadata,
    )
    if (targets, bins) != (scene.targets, scene.bins):
        scene.forget(imported)
    return measured


def w6(scene: Scene, most: bool) -> str:
    """A table, and a plot as SVG."""
    section = scene.report.section("W6", "how costs grow")
    sizes = sorted(
        {*(count for count in TARGETS if count < scene.targets), scene.targets, *([MOST] if most else [])}
    )
    by_targets = [point(scene, count, scene.bins) for count in sizes]
    by_bins = [point(scene, min(BINS_TARGETS, scene.targets), bins) for bins in BINS]
    header = [
        "targets",
        "bins",
        "W1 CPU",
        "W1 peak",
        "W2 CPU",
        "W3 cold CPU",
        "W3 warm CPU",
        "W3 cold metadata",
    ]
    rows = [
        [
            f"{at.targets:,}",
            f"{at.bins:,}",
            seconds(at.sign),
            size(at.peak),
            seconds(at.publish),
            seconds(at.cold),
            seconds(at.warm),
            size(at.metadata),
        ]
        for at in [*by_targets, *by_bins]
    ]
    section.table(header, rows)
    section.figures["points"] = [vars(at) for at in [*by_targets, *by_bins]]
    charts = []
    for title, points, axis in (
        (f"by targets, {scene.bins:,} bins", by_targets, "targets"),
        (f"by bins, {min(BINS_TARGETS, scene.targets):,} targets", by_bins, "bins"),
    ):
        series = {
            "W1 sign everything": [(getattr(at, axis), at.sign) for at in points],
            "W2 publish one file": [(getattr(at, axis), at.publish) for at in points],
            "W3 client, cold": [(getattr(at, axis), at.cold) for at in points],
            "W3 client, warm": [(getattr(at, axis), at.warm) for at in points],
        }
        charts.append(Chart(title, axis, series))
    return figure("CPU seconds as the repository grows", charts)
