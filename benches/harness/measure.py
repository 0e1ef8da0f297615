"""What a process costs: CPU seconds (user and system), wall seconds, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

LAUNCHER = Path(__file__).with_name("launch.py")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """CPU and wall in seconds, peak memory in bytes."""

    cpu: float
    wall: float
    peak: int

    def json(self) -> dict[str, float]:
        """For --json."""
        return asdict(self)


class Failed(Exception):
    """A command that had to succeed did not."""


class Process:
    """A process that runs beside the harness. Its input and output are pipes if asked for."""

    def __init__(self, command: list[object], env: dict[str, str], pipes: bool, log: Path) -> None:
        read, write = os.pipe()
        self.words = [str(word) for word in command]
        self.log = log
        with open(log, "wb") as errors:
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(write), *self.words],
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                pass_fds=[write],
            )
        os.close(write)
        self._report = os.fdopen(read, "rb")
        self.pid = int(self._report.readline())

    @property
    def stdin(self) -> IO[bytes]:
        """What it reads."""
        assert self._launcher.stdin is not None
        return self._launcher.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What it says."""
        assert self._launcher.stdout is not None
        return self._launcher.stdout

    def cpu(self) -> float:
        """CPU seconds of all its threads so far, to a hundredth of a second."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def send_signal(self, number: int) -> None:
        """To the process itself."""
        os.kill(self.pid, number)

    def wait(self, codes: tuple[int, ...] = (0,)) -> tuple[Cost, bytes]:
        """Its cost, and what it said that was not read yet."""
        if self._launcher.stdin is not None:
            self._launcher.stdin.close()
            self._launcher.stdin = None
        said = self.stdout.read()
        cpu, wall, peak, code = self._report.readline().split()
        self._report.close()
        self._launcher.wait()
        if int(code) not in codes:
            text = self.log.read_text(errors="replace")[-2000:]
            raise Failed(f"{' '.join(self.words)}\nexit code {int(code)}\n{text}")
        return Cost(float(cpu), float(wall), int(peak) * 1024), said


def median(costs: list[Cost]) -> Cost:
    """The median of each figure."""
    cpu, wall, peak = (
        statistics.median(getattr(cost, name) for cost in costs) for name in ("cpu", "wall", "peak")
    )
    return Cost(cpu, wall, int(peak))
