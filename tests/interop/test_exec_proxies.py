"""`exec` where a proxy was set before: SOCKS, HTTP, and HTTP inside TLS. Both what wheelseal asks itself and what it tunnels go that way."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tools
from helpers.index import Index
from helpers.server import Server, folder
from helpers.tools import Tool
from helpers.wheels import wheel
from helpers.wheelseal import Result, Wheelseal

LOGIN = "ann:sesame"
KINDS = ("socks5h", "socks5", "http", "https")
PROGRAMS = {"socks5h": ("microsocks",), "socks5": ("microsocks",), "http": ("tinyproxy",), "https": ("tinyproxy", "stunnel")}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Upstream:
    """A proxy that wants a login, and writes down where it was told to go."""

    def __init__(self, kind: str, home: Path) -> None:
        for program in PROGRAMS[kind]:
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not installed")
        self.kind, self.log, self._running = kind, home / "proxy.log", []
        port, host = free_port(), "127.0.0.1"
        user, password = LOGIN.split(":")
        if kind.startswith("socks"):
            self._start(port, "microsocks", "-i", host, "-p", str(port), "-u", user, "-P", password)
        else:
            settings = home / "tinyproxy.conf"
            # Without ConnectPort, to any port. With a log file of its own, since the one on standard output is buffered.
            settings.write_text(
                f'Port {port}\nListen {host}\nTimeout 60\nAllow {host}\nLogLevel Connect\n'
                f'BasicAuth {user} {password}\nLogFile "{self.log}"\n'
            )
            self._start(port, "tinyproxy", "-d", "-c", str(settings))
        if kind == "https":
            inner, port, host = port, free_port(), "localhost"
            settings = home / "stunnel.conf"
            settings.write_text(
                f"foreground = yes\npid =\n[proxy]\naccept = 127.0.0.1:{port}\n"
                f"connect = 127.0.0.1:{inner}\ncert = {home / 'server.pem'}\n"
            )
            self._start(port, "stunnel", str(settings))
        self.url = f"{kind}://{LOGIN}@{host}:{port}"
        self.stranger = f"{kind}://ann:wrong@{host}:{port}"

    def _start(self, port: int, *command: str) -> None:
        log = self.log.open("ab")
        self._running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{command[0]} does not start: {self.log.read_text()}")

    def went_to(self, server: Server) -> bool:
        """Whether it was told to go to a server, by the name that its kind of proxy is told."""
        port = server.url.rsplit(":", 1)[1]
        said = self.log.read_text()
        named = {
            "socks5h": f"connected to localhost:{port}",
            "socks5": f"connected to 127.0.0.1:{port}",
        }.get(self.kind, f"CONNECT localhost:{port} HTTP/1.1")
        return named in said

    def close(self) -> None:
        for running in self._running:
            running.terminate()
            running.wait()


class Scene:
    """A verified index, another one that nobody verifies, and a proxy."""

    def __init__(self, kind: str, wheelseal: Wheelseal, home: Path) -> None:
        self.index = Index(wheelseal, home)
        context, _ = _context(home)
        other = wheel(home / "other", "plain", "1.0")
        (home / "other" / "index.html").write_text(f'<a href="{other.name}">{other.name}</a>')
        self.other = Server(folder(home / "other"), context)
        self.upstream = Upstream(kind, home)

    def install(self, tool: Tool, proxy: str, **more: str) -> Result:
        """One project from each: from the verified index, and by a page of the other one."""
        command = ["install"] if "pip" in tool.command else ["pip", "install"]
        options = ["--target", self.index.home / "site", "--no-cache-dir", "--no-deps"]
        options += ["--index-url", f"{self.index.url}/simple/", "--find-links", f"{self.other.url}/"]
        env = {**self.index.env(tool), "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, **more}
        return self.index.wheelseal.run("exec", "--", *tool.command, *command, *options, "seal", "plain", env=env)

    def close(self) -> None:
        self.upstream.close()
        self.other.close()
        self.index.server.close()


def _context(home: Path) -> tuple:
    """The same certificate that the index has: there is one CA for all of a test."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem")
    return context, home / "ca.pem"


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(request.param, wheelseal, tmp_path)
    yield scene
    scene.close()


@pytest.fixture(params=["pip", "uv"])
def tool(request: pytest.FixtureRequest, binary: Path) -> Tool:
    """The newest of each."""
    return tools.pip(binary, tools.PIPS[-1]) if request.param == "pip" else tools.uv(binary, tools.UVS[-1])


def test_all_goes_by_the_proxy(scene: Scene, tool: Tool) -> None:
    done = scene.install(tool, scene.upstream.url)
    assert done.code == 0, done.err + scene.upstream.log.read_text()
    site = scene.index.home / "site"
    assert (site / "seal.py").exists() and (site / "plain.py").exists()
    assert scene.upstream.went_to(scene.index.server), "wheelseal's own requests: " + scene.upstream.log.read_text()
    assert scene.upstream.went_to(scene.other), "the tunnel: " + scene.upstream.log.read_text()


def test_hosts_that_need_no_proxy_are_reached_straight(scene: Scene, tool: Tool) -> None:
    done = scene.install(tool, scene.upstream.url, NO_PROXY="localhost")
    assert done.code == 0, done.err
    assert not scene.upstream.went_to(scene.index.server) and not scene.upstream.went_to(scene.other)


def test_without_the_proxys_password_nothing_comes_and_none_is_shown(scene: Scene, binary: Path) -> None:
    tool = tools.uv(binary, tools.UVS[-1])
    done = scene.install(tool, scene.upstream.stranger, UV_HTTP_RETRIES="0")
    assert done.code != 0
    assert not (scene.index.home / "site" / "seal.py").exists()
    assert not scene.index.server.taken() and not scene.other.taken()
    assert "wrong" not in done.out + done.err


def test_a_proxy_with_a_certificate_that_nobody_vouches_for_is_not_used(wheelseal: Wheelseal, tmp_path: Path, binary: Path) -> None:
    scene = Scene("https", wheelseal, tmp_path)
    try:
        tool = tools.uv(binary, tools.UVS[-1])
        # By its address it is another one than the certificate says.
        proxy = scene.upstream.url.replace("localhost", "127.0.0.2")
        empty = tmp_path / "empty.pem"
        empty.write_text("")
        for settings in ({"HTTPS_PROXY": proxy}, {"SSL_CERT_FILE": str(empty)}):
            done = scene.install(tool, scene.upstream.url, UV_HTTP_RETRIES="0", **settings)
            assert done.code != 0
        assert not scene.upstream.went_to(scene.index.server) and not scene.upstream.went_to(scene.other)
    finally:
        scene.close()
