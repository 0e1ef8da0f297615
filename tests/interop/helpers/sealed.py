"""A repository made by wheelseal, in a folder, and python-tuf's view of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer
from tuf.ngclient import Updater

from helpers.wheelseal import Wheelseal, key


@dataclass
class Sealed:
    """A repository folder and the keys it was made with."""

    wheelseal: Wheelseal
    folder: Path
    root_keys: list[Path] = field(default_factory=lambda: [key("root-1")])
    targets_keys: list[Path] = field(default_factory=lambda: [key("targets-1")])
    online_keys: list[Path] = field(default_factory=lambda: [key("online")])
    thresholds: tuple[int, int, int] = (1, 1, 1)

    def init(self, *, style: str = "succinct", bins: int = 16) -> None:
        """Makes the repository."""
        flags: list[object] = ["--repo", self.folder, "--bins", bins, "--bin-style", style]
        roles = (("root", self.root_keys), ("targets", self.targets_keys), ("online", self.online_keys))
        for (role, keys), threshold in zip(roles, self.thresholds):
            for path in keys:
                flags += [f"--{role}-key", path]
            flags += [f"--{role}-threshold", threshold]
        self.wheelseal("init", *flags)

    def run(self, *args: object, keys: list[Path] | None = None, code: int = 0) -> str:
        """Runs a command on this repository, with offline keys where it needs them."""
        return self.wheelseal(
            *args, "--repo", self.folder, *[f for k in keys or [] for f in ("--key", k)], code=code
        )

    @property
    def first_root(self) -> Path:
        """What clients are given over a channel they trust."""
        return self.folder / "metadata" / "1.root.json"

    def targets(self) -> dict[str, bytes]:
        """Every target of the current snapshot and its bytes, found by walking the metadata with python-tuf."""
        folder = self.folder / "metadata"
        timestamp = Metadata.from_file(str(folder / "timestamp.json")).signed
        snapshot = Metadata.from_file(str(folder / f"{timestamp.snapshot_meta.version}.snapshot.json")).signed
        found: dict[str, bytes] = {}
        for name, meta in snapshot.meta.items():
            role = Metadata[Targets].from_file(str(folder / f"{meta.version}.{name}")).signed
            for path, file in role.targets.items():
                directory, _, filename = path.rpartition("/")
                found[path] = (
                    self.folder / "targets" / directory / f"{file.hashes['sha256']}.{filename}"
                ).read_bytes()
        return found


def download_everything(url: str, sealed: Sealed, cache: Path) -> int:
    """python-tuf's client downloads every target and must get the repository's bytes. How many there were.

    `cache` is kept between calls: rotations and removals are then met by a client that has seen the state before.
    """
    downloads = cache / "targets"
    (cache / "metadata").mkdir(parents=True, exist_ok=True)
    downloads.mkdir(exist_ok=True)
    root = sealed.first_root.read_bytes()
    base = (f"{url}/metadata/", str(downloads), f"{url}/targets/")
    updater = Updater(str(cache / "metadata"), *base, bootstrap=root)
    updater.refresh()
    expected = sealed.targets()
    for path, content in expected.items():
        info = updater.get_targetinfo(path)
        assert info is not None, f"python-tuf does not find {path}"
        assert Path(updater.download_target(info)).read_bytes() == content
    return len(expected)


def assert_same_canonical_bytes(file: Path) -> None:
    """python-tuf reads the file, and what it writes again has the bytes that were signed."""
    body = file.read_bytes()
    written = CanonicalJSONSerializer().serialize(Metadata.from_bytes(body).signed)
    assert written == encode_canonical(json.loads(body)["signed"]).encode(), file.name
