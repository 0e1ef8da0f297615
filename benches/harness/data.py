"""The targets that everyone signs: made from a seed, the same on every machine, kept between runs.

Line i depends on the seed and on i alone, so a short list is the beginning of a long one. The first 1,000 targets
have real content of log-normal sizes, 1.13 GB together (W4); four more have 100,000 bytes each (W3).
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import random
from pathlib import Path

SEED = 458
SIZED = 1_000
DOWNLOADS = 4
DOWNLOAD_LENGTH = 100_000
LEAST, MOST, TYPICAL = 1_024, 32 * 1024 * 1024, 700_000
WORDS = (
    "py data flow net core lib auth web task graph ml io db fast json test cloud log plug django flask async util tool "
    "cli geo bio num sci vec"
).split()
PART = 100_000


def path_of(noise: bytes) -> str:
    """The target's path, 112 characters long on average."""
    place = noise[:33].hex()
    pick = int.from_bytes(noise[33:36], "little")
    first, second = WORDS[pick % len(WORDS)], WORDS[pick // len(WORDS) % len(WORDS)]
    version = f"{noise[37] % 10}.{noise[38] % 30}.{noise[39] % 10}"
    name = f"{first}_{second}{noise[36]}-{version}-py3-none-any.whl"
    return f"packages/{place[:2]}/{place[2:4]}/{place[4:]}/{name}"


def noise_of(number: int) -> bytes:
    """64 bytes that decide everything about a target without content."""
    return hashlib.blake2b(b"%d:%d" % (SEED, number), digest_size=64).digest()


def content_of(number: int) -> bytes:
    """The bytes of a target that has some."""
    length = DOWNLOAD_LENGTH
    if number < SIZED:
        drawn = random.Random(f"{SEED}:size:{number}").lognormvariate(math.log(TYPICAL), 1.0)
        length = max(LEAST, min(MOST, int(drawn)))
    return random.Random(f"{SEED}:content:{number}").randbytes(length)


def part(first: int, end: int, real: dict[int, tuple[int, str]]) -> bytes:
    """Some lines: path, length, SHA-256, with tabs between them."""
    lines = []
    for number in range(first, end):
        noise = noise_of(number)
        if number in real:
            length, sha256 = real[number]
        else:
            length = 20_000 + int.from_bytes(noise[40:43], "big") // 4
            sha256 = hashlib.sha256(noise).hexdigest()
        lines.append(f"{path_of(noise)}\t{length}\t{sha256}\n")
    return "".join(lines).encode()


def _part(job: tuple[int, int, dict[int, tuple[int, str]]]) -> bytes:
    return part(*job)


class Data:
    """Lists and files in a folder that outlives the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        self._real: dict[int, tuple[int, str]] = {}

    def real(self) -> dict[int, tuple[int, str]]:
        """Length and SHA-256 of the targets with content; their files lie at their target paths in `files`."""
        index = self.folder / "files.json"
        if not self._real and index.exists():
            self._real = {
                int(number): tuple(value) for number, value in json.loads(index.read_text()).items()
            }
        if not self._real:
            for number in range(SIZED + DOWNLOADS):
                content, file = content_of(number), self.file(number)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                self._real[number] = len(content), hashlib.sha256(content).hexdigest()
            index.write_text(json.dumps(self._real))
        return self._real

    def path(self, number: int) -> str:
        """The target path."""
        return path_of(noise_of(number))

    def file(self, number: int) -> Path:
        """Where the content of a target lies. Downloads lie apart from the 1,000."""
        folder = self.files if number < SIZED else self.folder / "downloads"
        return folder / self.path(number)

    def tsv(self, count: int) -> Path:
        """The list of the first `count` targets."""
        file = self.folder / f"{count}.tsv"
        if file.exists():
            return file
        real, fresh = self.real(), file.with_suffix(".new")
        jobs = [(first, min(first + PART, count), real) for first in range(0, count, PART)]
        with multiprocessing.Pool(os.cpu_count()) as pool, open(fresh, "wb") as out:
            for lines in pool.imap(_part, jobs):
                out.write(lines)
        fresh.rename(file)
        return file
