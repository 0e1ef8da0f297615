"""A client that speaks the command-line protocol of the TUF conformance suite: `wheelseal conformance`."""

from __future__ import annotations

from pathlib import Path

from helpers.server import Server
from helpers.wheelseal import Wheelseal


class Client:
    """Trusted metadata and downloaded files of one client, in folders of its own."""

    def __init__(self, wheelseal: Wheelseal, folder: Path, server: Server) -> None:
        self.wheelseal = wheelseal
        self.server = server
        self.metadata = folder / "trusted"
        self.targets = folder / "downloads"
        self.root = folder / "initial-root.json"
        self.said = ""

    def init(self, root: bytes) -> int:
        """Starts from this root."""
        self.root.write_bytes(root)
        return self._run("init", self.root)

    def refresh(self, at: str | None = None) -> int:
        """Updates the top-level metadata."""
        return self._run("refresh", at=at)

    def download(self, *names: str, at: str | None = None) -> int:
        """Downloads targets, in one process."""
        return self._run(
            "download", flags=[flag for name in names for flag in ("--target-name", name)], at=at
        )

    def _run(self, *step: object, flags: list[str] | None = None, at: str | None = None) -> int:
        flags = [*(flags or []), "--metadata-dir", str(self.metadata)]
        if step[0] != "init":
            flags += ["--metadata-url", f"{self.server.url}/metadata"]
        if step[0] == "download":
            flags += ["--target-base-url", f"{self.server.url}/targets", "--target-dir", str(self.targets)]
        done = self.wheelseal.run("conformance", *flags, *step, at=at)
        self.said = done.out + done.err
        assert done.code in (0, 1), f"the protocol knows 0 and 1 alone, not {done.code}\n{self.said}"
        return done.code

    def trusted(self) -> dict[str, bytes]:
        """Name and bytes of each trusted metadata file."""
        return {file.stem: file.read_bytes() for file in self.metadata.glob("*.json")}

    def downloaded(self) -> dict[Path, bytes]:
        """Path and bytes of each downloaded file."""
        return {file: file.read_bytes() for file in self.targets.rglob("*") if file.is_file()}

    def asked(self) -> list[str]:
        """The requests since this was last asked."""
        return self.server.taken()
