"""The programs that are measured, and the repositories that several workloads share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from harness.data import Data
from harness.measure import Cost, Process
from harness.report import Report, say

TOP = Path(__file__).resolve().parents[2]
PEER = TOP / "benches" / "peer"
sys.path.insert(0, str(TOP / "tests" / "interop"))

from helpers.wheels import wheel  # noqa: E402
from helpers.wheelseal import clean_environment, key  # noqa: E402

ONLINE, P256 = key("online"), key("ecdsa")


@dataclass
class Imported:
    """A repository and what it cost to make it."""

    folder: Path
    init: Cost
    imported: Cost


@dataclass
class Scene:
    """Binary, data, folders and sizes of one run. Other programs are built, and python-tuf is installed, when asked for."""

    binary: Path
    bench: Callable[[str], Path]
    python_tuf: Callable[[], Path]
    data: Data
    scratch: Path
    targets: int
    bins: int
    report: Report
    leaves: int
    _made: dict[tuple[int, int, str], Imported] = field(default_factory=dict)
    _peers: dict[str, Cost] = field(default_factory=dict)
    _wheels: int = 0

    @property
    def python(self) -> Path:
        """A Python that has python-tuf."""
        return self.python_tuf()

    @property
    def env(self) -> dict[str, str]:
        """A user with nothing but what this run gave them. Python keeps what it compiles, as it does for its users."""
        kept = {name: value for name, value in clean_environment().items() if not name.startswith("PYTHON")}
        home = {name: str(self.scratch / "home" / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
        return {**kept, **home, "PYTHONPYCACHEPREFIX": str(self.data.folder / "pycache")}

    def start(self, *command: object, pipes: bool = False) -> Process:
        """wheelseal, running beside the harness."""
        return Process([self.binary, *command], self.env, pipes, self.scratch / "stderr.log")

    def run(self, *command: object) -> Cost:
        """wheelseal, to its end."""
        return self.start(*command).wait()[0]

    def run_ending(self, codes: tuple[int, ...], *command: object) -> Cost:
        """wheelseal, to an end with one of these exit codes."""
        return self.start(*command).wait(codes)[0]

    def peer(self, program: str, *arguments: object) -> tuple[Cost, Any]:
        """A program of python-tuf, to its end: its cost, and the JSON it prints, if any.

        It leaves its files to the kernel. They are written out here, or whoever flushes next would pay for it.
        """
        command = [self.python, PEER / program, *arguments]
        cost, said = Process(command, self.env, False, self.scratch / "stderr.log").wait()
        os.sync()
        return cost, json.loads(said) if said[:1] in (b"[", b"{") else said

    def rates(self, *arguments: object) -> dict[str, float]:
        """Raw rates of this machine."""
        done = subprocess.run(
            [self.bench("rates"), *map(str, arguments)], check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)

    def init(self, folder: Path, bins: int, online: Path = ONLINE) -> Cost:
        """A new repository without targets."""
        keys = ["--root-key", key("root-1"), "--targets-key", key("targets-1"), "--online-key", online]
        layout = ["--bins", bins, "--bin-style", "succinct"]
        return self.run("init", "--repo", folder, *keys, *layout)

    def imported(self, targets: int = 0, bins: int = 0, online: Path = ONLINE) -> Imported:
        """A repository with this many targets; the usual sizes if none are given. Made once in a run."""
        targets, bins = targets or self.targets, bins or self.bins
        name = (targets, bins, online.stem)
        if name not in self._made:
            tsv, folder = self.data.tsv(targets), self.scratch / f"{targets}-{bins}-{online.stem}"
            say(f"(importing {targets:,} targets into {bins:,} bins, {online.stem})")
            init = self.init(folder, bins, online)
            cost = self.run("import", "--repo", folder, "--from-tsv", tsv, "--as-is")
            self._made[name] = Imported(folder, init, cost)
        return self._made[name]

    def forget(self, imported: Imported) -> None:
        """Removes a repository to make room."""
        self._made = {name: other for name, other in self._made.items() if other is not imported}
        shutil.rmtree(imported.folder)

    def signed_by_peer(self, style: str) -> tuple[Path, Cost]:
        """The same repository by python-tuf. Made once in a run."""
        folder = self.scratch / f"python-tuf-{style}"
        if style not in self._peers:
            say(f"(python-tuf signs {self.targets:,} targets into {self.bins:,} bins, {style})")
            tsv = self.data.tsv(self.targets)
            self._peers[style] = self.peer("sign.py", tsv, folder, self.bins, style, ONLINE)[0]
        return folder, self._peers[style]

    def wheel(self) -> Path:
        """A small wheel that nobody published yet in this run."""
        self._wheels += 1
        return wheel(self.scratch / "wheels", f"fresh-{self._wheels}", "1.0")
