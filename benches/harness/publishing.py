"""W2 and W2b: publishing, one file at a time and many at once."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

from harness.measure import Failed, Process, median
from harness.report import say, seconds
from harness.scene import ONLINE, Scene, key, wheel

FRESH = 9
SEQUENTIAL = 200
PEER_FRESH = 5
PEER_LOOP = 50
SECONDS = 30
PUBLISHERS = 64
PROCESSES = 4
LEAST_RATE = 500
PROJECTS = 4_000
PREPARED = 60_000
LOGGED_BINS = 256


def w2(scene: Scene) -> None:
    """One file into W1's repository."""
    section = scene.report.section("W2", f"publish one file among {scene.targets:,}")
    repo = scene.imported().folder
    folder, _ = scene.signed_by_peer("succinct")
    fresh = median([scene.run("add", "--repo", repo, scene.wheel()) for _ in range(FRESH)])
    peer = [folder, scene.bins, "succinct", ONLINE]
    theirs = median([scene.peer("publish.py", *peer, 1)[0] for _ in range(PEER_FRESH)])
    section.costs([("wheelseal add, a fresh process", fresh), ("python-tuf, a fresh process", theirs)])
    kept, wall = sequential(scene, repo)
    theirs_kept = statistics.median(scene.peer("publish.py", *peer, PEER_LOOP)[1])
    rows = [
        ["wheelseal add --stdin", seconds(kept), seconds(wall)],
        ["python-tuf, a loop", seconds(theirs_kept), ""],
    ]
    section.table(["each publication in a running process", "CPU", "wall"], rows)
    section.figures["running process"] = {"wheelseal": kept, "python-tuf": theirs_kept}
    section.at_most("CPU of a fresh process", fresh.cpu, 0.015, seconds)
    section.fraction("CPU of python-tuf's fresh process", fresh.cpu, theirs.cpu, 25)
    section.at_most("CPU in a running process", kept, 0.004, seconds)


def w2l(scene: Scene) -> None:
    """With a transparency log and without: two new repositories, their wheels alike, and in turns, one idle while the other publishes."""
    section = scene.report.section("W2l", "publish with a transparency log")
    publishers, spent = {}, {}
    for name in ("without", "with"):
        repo = scene.scratch / f"log-{name}"
        scene.init(repo, LOGGED_BINS)
        if name == "with":
            keys = ["--key", key("log"), "--key", key("targets-1")]
            scene.run("log", "init", "--repo", repo, *keys, "--origin", "bench.example/log")
        publishers[name], spent[name] = Publisher(scene, repo), []
    for turn in range(SEQUENTIAL + 1):
        for name, publisher in publishers.items():
            publisher.send(scene.wheel())
            _, wall = publisher.published()
            if turn:
                spent[name].append(wall)
    costs = {name: publisher.close() for name, publisher in publishers.items()}
    walls = {name: statistics.median(each) for name, each in spent.items()}
    rows = [
        [f"{name} a log", seconds(costs[name] / (SEQUENTIAL + 1)), seconds(walls[name]), seconds(statistics.mean(spent[name]))]
        for name in publishers
    ]
    section.table(["each publication in a running process", "CPU", "wall, median", "wall, mean"], rows)
    section.figures["wall"] = walls
    section.at_most("wall with a log, in times without", walls["with"] / walls["without"], 1.3, times)


def times(number: float) -> str:
    """A ratio."""
    return f"{number:.2f} ×"


def sequential(scene: Scene, repo: Path) -> tuple[float, float]:
    """CPU and wall seconds of a publication, one after the other in one process."""
    wheels = [scene.wheel() for _ in range(SEQUENTIAL + 1)]
    publisher = Publisher(scene, repo)
    publisher.send(wheels[0])
    publisher.published()
    start, wall = publisher.process.cpu(), time.perf_counter()
    for file in wheels[1:]:
        publisher.send(file)
        publisher.published()
    cpu, wall = publisher.process.cpu() - start, time.perf_counter() - wall
    publisher.close()
    return cpu / SEQUENTIAL, wall / SEQUENTIAL


class Publisher:
    """`wheelseal add --stdin`: a name on a line publishes it, a line comes back when it is durable and visible."""

    def __init__(self, scene: Scene, repo: Path) -> None:
        self.process: Process = scene.start("add", "--repo", repo, "--stdin", pipes=True)
        self.sent: dict[str, float] = {}

    def send(self, file: Path) -> None:
        """Asks for a publication."""
        self.sent[file.name] = time.perf_counter()
        self.process.stdin.write(f"{file}\n".encode())
        self.process.stdin.flush()

    def published(self) -> tuple[str, float]:
        """Waits for a publication: the file's name, and the seconds since it was asked for."""
        line = self.process.stdout.readline().decode()
        names = [name for name in (Path(word).name for word in line.split()) if name in self.sent]
        if not names:
            raise Failed(f"add --stdin says {line!r}\n{self.process.log.read_text()[-2000:]}")
        return names[0], time.perf_counter() - self.sent.pop(names[0])

    def close(self) -> float:
        """Waits for its end: CPU seconds of all of it."""
        return self.process.wait()[0].cpu


class View:
    """A directory store as a reader sees it: timestamp, snapshot, bin."""

    def __init__(self, repo: Path, bins: int) -> None:
        self.metadata = repo / "metadata"
        self.digits = len(f"{bins - 1:x}")
        self.shift = 32 - (bins.bit_length() - 1)
        self._snapshot = (0, b"")

    def version(self) -> int:
        """Of the snapshot."""
        timestamp = json.loads((self.metadata / "timestamp.json").read_bytes())
        return timestamp["signed"]["meta"]["snapshot.json"]["version"]

    def lists(self, target: str) -> bool:
        """Whether the target is in the bin that the newest snapshot names."""
        version, text = self._snapshot
        newest = self.version()
        if newest != version:
            text = (self.metadata / f"{newest}.snapshot.json").read_bytes()
            self._snapshot = (newest, text)
        number = int.from_bytes(hashlib.sha256(target.encode()).digest()[:4], "big") >> self.shift
        name = f"bins-{number:0{self.digits}x}.json"
        entry = text[text.index(b'"%s":' % name.encode()) :][:120]
        listed = int(entry.split(b'"version":', 1)[1].split(b"}")[0].split(b",")[0])
        return b'"%s":' % target.encode() in (self.metadata / f"{listed}.{name}").read_bytes()


@dataclass
class Run:
    """What several publishers did together."""

    targets: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def publish_for(
    seconds_: float, publisher: Publisher, window: int, wheels: Iterator[Path], view: View, run: Run
) -> None:
    """Keeps `window` publications under way, and looks for each file as soon as it is said to be published."""
    end = time.perf_counter() + seconds_
    for file in itertools.islice(wheels, window):
        publisher.send(file)
    while publisher.sent:
        name, wait = publisher.published()
        target = f"{project_of(name)}/{name}"
        if not view.lists(target):
            run.unseen.append(target)
        run.targets.append(target)
        run.waits.append(wait)
        if time.perf_counter() < end and (file := next(wheels, None)):
            publisher.send(file)


def project_of(name: str) -> str:
    """The normalized project of a wheel that was prepared here."""
    return name.split("-")[0].replace("_", "-")


def prepare(job: tuple[Path, int]) -> None:
    """Makes one of the wheels for W2b, unless it is there."""
    folder, number = job
    project, version = f"many-{number % PROJECTS}", f"{number // PROJECTS}.0"
    if not (folder / f"many_{number % PROJECTS}-{version}-py3-none-any.whl").exists():
        wheel(folder, project, version)


def prepared(scene: Scene) -> list[Path]:
    """Many small wheels, kept between runs."""
    folder = scene.data.folder / "wheels"
    if not folder.exists() or len(os.listdir(folder)) < PREPARED:
        say(f"(making {PREPARED:,} small wheels)")
        with multiprocessing.Pool(os.cpu_count()) as pool:
            pool.map(prepare, [(folder, number) for number in range(PREPARED)], chunksize=500)
    order = range(PREPARED)
    return [folder / f"many_{number % PROJECTS}-{number // PROJECTS}.0-py3-none-any.whl" for number in order]


def w2b(scene: Scene) -> None:
    """Many publishers at once."""
    section = scene.report.section(
        "W2b", f"{PUBLISHERS} concurrent publishers for {SECONDS} s, directory store"
    )
    repo, wheels = scene.imported().folder, iter(prepared(scene))
    rows = []
    for processes in (1, PROCESSES):
        run, snapshots, wall, cpu = crowd(scene, repo, wheels, processes)
        published, waits = len(run.targets), sorted(run.waits)
        view = View(repo, scene.bins)
        lost = sum(not view.lists(target) for target in run.targets)
        rate = published / wall
        middle, late = waits[published // 2], waits[published * 99 // 100]
        who = f"{processes} process{'es' if processes > 1 else ''} × {PUBLISHERS // processes}"
        figures = [str(published), f"{rate:.0f}", str(snapshots), seconds(cpu / published)]
        rows.append([who, *figures, seconds(middle), seconds(late), str(len(run.unseen)), str(lost)])
        section.figures[who] = {"published": published, "rate": rate, "snapshots": snapshots, "cpu": cpu}
        seen = published - len(run.unseen)
        section.holds(f"{who}: visible when told so", f"{seen} of {published}", not run.unseen)
        section.holds(f"{who}: still there at the end", f"{published - lost} of {published}", not lost)
        if processes == 1:
            section.at_least(f"{who}: publications in a second", rate, LEAST_RATE)
            section.fraction(f"{who}: snapshots of publications", snapshots, published, 10)
    header = [
        "",
        "published",
        "in a second",
        "snapshots",
        "CPU of each",
        "median wait",
        "99 % wait",
        "not visible",
        "lost",
    ]
    section.table(header, rows)


def crowd(scene: Scene, repo: Path, wheels: Iterator[Path], processes: int) -> tuple[Run, int, float, float]:
    """Publishers spread over processes: what they did, snapshots made, wall and CPU seconds."""
    view = View(repo, scene.bins)
    before = view.version()
    publishers = [Publisher(scene, repo) for _ in range(processes)]
    runs = [Run() for _ in publishers]
    shared, failures = Shared(wheels), []

    def work(publisher: Publisher, run: Run) -> None:
        try:
            publish_for(SECONDS, publisher, PUBLISHERS // processes, shared, View(repo, scene.bins), run)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(publishers, runs)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    if failures:
        raise failures[0]
    cpu = sum(publisher.process.wait()[0].cpu for publisher in publishers)
    whole = Run(
        *(
            list(itertools.chain(*(getattr(run, name) for run in runs)))
            for name in ("targets", "unseen", "waits")
        )
    )
    return whole, view.version() - before, wall, cpu


class Shared(Iterator[Path]):
    """An iterator that several threads take from."""

    def __init__(self, inner: Iterator[Path]) -> None:
        self._inner, self._lock = inner, threading.Lock()

    def __next__(self) -> Path:
        with self._lock:
            return next(self._inner)
