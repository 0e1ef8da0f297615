"""An index behind TLS whose server can be made to lie, and a user of real tools who trusts it."""

from __future__ import annotations

from pathlib import Path

from helpers.certificates import localhost
from helpers.sealed import Sealed
from helpers.server import Server, Slow, folder
from helpers.tools import Tool
from helpers.wheels import wheel
from helpers.wheelseal import Result, Wheelseal

WHEEL = "seal-1.1-py3-none-any.whl"


class Index:
    """A repository behind TLS, its server, and a user who trusts both."""

    def __init__(self, wheelseal: Wheelseal, home: Path, login: str | None = None) -> None:
        self.home = home
        self.sealed = Sealed(wheelseal, home / "repo")
        self.sealed.init()
        self.sealed.run("add", *[wheel(home / "dists", "seal", version) for version in ("1.0", "1.1")])
        context, self.ca = localhost(home)
        self.server = Server(self._lookup, context, login)
        self.lies: dict[str, bytes | Slow] = {}
        self.url = self.server.url
        wheelseal("trust", "add", "mine", "--index", f"{self.url}/simple/", "--root", self.sealed.first_root)
        self.wheelseal = wheelseal

    def _lookup(self, path: str) -> bytes | Slow | None:
        return self.lies[path] if path in self.lies else folder(self.sealed.folder)(path)

    def tamper(self, evil: bytes | None = None) -> None:
        """The server has other bytes for the newest wheel: by default such as have the right length."""
        for file in self.sealed.folder.glob(f"targets/seal/*{WHEEL}"):
            good = file.read_bytes()
            changed = good[:99] + bytes([good[99] ^ 1]) + good[100:]
            self.lies[str(file.relative_to(self.sealed.folder))] = evil or changed

    def evil(self) -> bytes:
        """A wheel that would work."""
        return wheel(self.home / "evil", "seal", "1.1", text="evil = True\n").read_bytes()

    def env(self, tool: Tool) -> dict[str, str]:
        """Of a command of a user who trusts the server's certificate."""
        own = {name: "" for name in ("REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR")}
        return {**own, "SSL_CERT_FILE": str(self.ca), "XDG_CACHE_HOME": str(self.home / "cache"), **tool.env}

    def exec(self, tool: Tool, *args: object, flags: tuple[object, ...] = ()) -> Result:
        """Runs the tool by `exec`."""
        return self.wheelseal.run("exec", *flags, "--", *tool.command, *args, env=self.env(tool))


def refused(done: Result, code: int, *reasons: str) -> None:
    """The reasons are on the user's screen."""
    assert done.code == code, done.out + done.err
    for reason in reasons:
        assert reason in done.err, f"no {reason!r} in: {done.err}"
