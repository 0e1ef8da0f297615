"""W9 to W11: pip and uv under `exec`, a crowd before `proxy`, and a crowd of uploads, each beside what does the same without checking."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.measure import Failed, Process
from harness.report import Section, say, seconds, size
from harness.scene import ONLINE, Scene
from helpers.wheels import wheel

RUNS = 5
PACKAGES = 100
# Bytes of the data in each package, from small pure Python ones to some with an extension module: 40 MB together.
SIZES = (20_000, 50_000, 100_000, 200_000, 400_000, 1_600_000)
UPLOADS = 100
MIB = 2**20
CONNECTIONS = 200
LOAD_SECONDS = 8
TOOLS = {"pip": "26.0.1", "uv": "0.13.9"}
SERVERS = {"pypiserver": "2.4.2", "devpi-server": "6.20.3"}


def package(folder: Path, name: str, version: str, length: int) -> Path:
    """A wheel with data that does not compress, the same in each run."""
    data = random.Random(f"{name} {version}").randbytes(length)
    return wheel(folder, name, version, more={f"{name.replace('-', '_')}_data/data.bin": data})


def environment(scene: Scene, name: str, wanted: dict[str, str]) -> Path:
    """A virtual environment with these packages, kept between runs. Its folder of programs."""
    folder = scene.data.folder / name
    key = json.dumps(wanted)
    if not (folder / "wanted").exists() or (folder / "wanted").read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        say(f"(installing {', '.join(wanted)})")
        subprocess.run([scene.python, "-m", "venv", folder], check=True)
        packages = [f"{package}=={version}" for package, version in wanted.items()]
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "wanted").write_text(key)
    return folder / "bin"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(port: int, log: Path) -> None:
    """Waits until somebody listens."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise Failed(f"nobody listens on port {port}\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def serving(scene: Scene, *command: object) -> Iterator[tuple[str, Process]]:
    """wheelseal as a server, and its address."""
    process = scene.start(*command, pipes=True)
    try:
        line = process.stdout.readline().decode()
        found = re.search(r"http://[^\s/]+", line)
        if found is None:
            raise Failed(f"{' '.join(process.words)}\n{process.log.read_text(errors='replace')}")
        yield found[0], process
    finally:
        process.send_signal(15)


# W9


@dataclass
class Tool:
    """pip or uv, with and without wheelseal before it."""

    scene: Scene
    name: str
    command: list[object]
    env: dict[str, str]
    folder: Path
    # What it installs to, and what it keeps for the next time.
    made: list[Path]

    def install(self, sealed: bool, warm: bool) -> float:
        """Wall seconds of one installation."""
        kept = [self.scene.scratch / "home" / "XDG_STATE_HOME", self.scene.scratch / "cache"]
        for path in self.made + ([] if warm else kept):
            shutil.rmtree(path, ignore_errors=True)
        before = [self.scene.binary, "exec", "--"] if sealed else []
        env = {**self.scene.env, **self.env, "XDG_CACHE_HOME": str(self.scene.scratch / "cache")}
        log = self.scene.scratch / "tool.log"
        start = time.perf_counter()
        with open(log, "wb") as out:
            done = subprocess.run(
                [str(word) for word in before + self.command], cwd=self.folder, env=env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False,
            )  # fmt: skip
        wall = time.perf_counter() - start
        if done.returncode != 0:
            raise Failed(f"{self.name} ended with {done.returncode}\n{log.read_text(errors='replace')[-2000:]}")
        return wall


def tools(scene: Scene, bin_folder: Path, index: str, wheels: list[Path]) -> list[Tool]:
    """pip with hashes, and uv with a lock that it wrote itself."""
    folder = scene.scratch / "project"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = [file.name.partition("-")[0].replace("_", "-") for file in wheels]
    locked = [
        f"{name}==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        for name, file in zip(names, wheels, strict=True)
    ]
    (folder / "requirements.txt").write_text("\n".join(locked) + "\n")
    dependencies = ", ".join(f'"{name}"' for name in names)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "locked"\nversion = "1.0"\nrequires-python = ">=3.9"\ndependencies = [{dependencies}]\n'
        f'[[tool.uv.index]]\nurl = "{index}"\ndefault = true\n'
    )
    uv_env = {"UV_PYTHON": str(scene.python), "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run([bin_folder / "uv", "lock", "--quiet"], cwd=folder, env={**scene.env, **uv_env}, check=True)
    pip = [bin_folder / "python", "-m", "pip", "install", "--quiet", "--index-url", index, "--no-compile"]
    pip += ["--disable-pip-version-check", "--target", folder / "site", "-r", folder / "requirements.txt"]
    return [
        Tool(scene, "pip", pip, {}, folder, [folder / "site"]),
        Tool(scene, "uv", [bin_folder / "uv", "sync", "--quiet", "--frozen"], uv_env, folder, [folder / ".venv"]),
    ]


def w9(scene: Scene) -> None:
    """pip and uv install 100 packages, with and without `exec`."""
    section = scene.report.section(
        "W9", f"`exec`: {PACKAGES} locked packages, {scene.bins:,} bins, `serve` on loopback HTTP"
    )
    bin_folder = environment(scene, "bench-tools", TOOLS)
    wheels = [
        package(scene.scratch / "packages", f"bench-{number:03}", "1.0", SIZES[number % len(SIZES)])
        for number in range(PACKAGES)
    ]
    repo = scene.imported().folder
    scene.run("add", "--repo", repo, *wheels)
    rows = []
    with serving(scene, "serve", "--repo", repo, "--listen", "127.0.0.1:0") as (url, _):
        index = f"{url}/simple/"
        scene.start("trust", "remove", "bench").wait((0, 2))
        scene.run("trust", "add", "bench", "--index", index, "--root", repo / "metadata" / "1.root.json")
        for tool in tools(scene, bin_folder, index, wheels):
            for warm in (False, True):
                walls: dict[bool, list[float]] = {False: [], True: []}
                for _ in range(RUNS):
                    for sealed in (False, True):
                        if warm:
                            # Filled by one of the same kind: what each keeps differs.
                            tool.install(sealed, warm=False)
                        walls[sealed].append(tool.install(sealed, warm))
                alone, sealed_wall = (statistics.median(walls[sealed]) for sealed in (False, True))
                state = "warm" if warm else "cold"
                rows.append([f"{tool.name}, {state}", seconds(alone), seconds(sealed_wall), f"{sealed_wall / alone:.2f}"])
                section.figures[f"{tool.name} {state}"] = {"alone": alone, "exec": sealed_wall}
    section.table(["", "alone", "under exec", "ratio"], rows)
    for name, figures in section.figures.items():
        section.at_most(f"{name}: wall, of that alone", figures["exec"] / figures["alone"], 1.15)
    section.note("cold: nothing is kept, neither by the tool nor by wheelseal; warm: the same installation once more.")


# W10

NGINX = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """nginx with what lies in `folder`/www."""
    port, log = free_port(), folder / "error.log"
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
    log.write_text("")
    server = subprocess.Popen(["nginx", "-e", str(log), "-c", str(folder / "nginx.conf")])
    try:
        reachable(port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def load(url: str, *fields: str) -> tuple[float, float]:
    """Requests and bytes in a second, as wrk counts them. Every answer must be a 200."""
    headers = [word for field in fields for word in ("-H", field)]
    command = ["wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", f"{LOAD_SECONDS}s", "--timeout", "30s", *headers, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise Failed(f"{url}\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    transfer = re.search(r"Transfer/sec:\s+([\d.]+)(\w+)", said)
    assert rate and transfer
    return float(rate[1]), float(transfer[1]) * {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}[transfer[2]]


def fetched(url: str, path: str) -> bytes:
    """An answer's body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise Failed(f"{url}{path}\n{answer.status} {answer.reason}")
    return body


def w10(scene: Scene) -> None:
    """Pages and files of `proxy`, and of nginx that gives out the same bytes."""
    for program in ("nginx", "wrk"):
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed (Debian: apt-get install {program})")
    section = scene.report.section(
        "W10", f"`proxy`: {CONNECTIONS} connections, wrk on the same machine, {scene.bins:,} bins"
    )
    repo = scene.imported().folder
    wheels = [package(scene.scratch / "crowd", "crowd", f"1.{number}", 1_000) for number in range(40)]
    wheels.append(package(scene.scratch / "crowd", "crowd", "2.0", 10 * MIB))
    scene.run("add", "--repo", repo, *wheels)
    scene.start("trust", "remove", "bench").wait((0, 2))
    scene.run("trust", "add", "bench", repo, "--root", repo / "metadata" / "1.root.json")
    www = scene.scratch / "nginx" / "www"
    www.mkdir(parents=True)
    figures: dict[str, tuple[float, float]] = {}
    with serving(scene, "proxy", "--trust", "bench", "--port", free_port()) as (url, process):
        page = fetched(url, "/bench/simple/crowd/")
        link = re.search(rb'href="([^"#]*crowd-2\.0-[^"#]*)', page)
        assert link, page
        file = os.path.normpath(f"/bench/simple/crowd/{link[1].decode()}") if link[1][:1] == b"." else link[1].decode()
        served = fetched(url, file)
        (www / "page.html").write_bytes(page)
        (www / "file.whl").write_bytes(served)
        figures["wheelseal, page"] = load(f"{url}/bench/simple/crowd/")
        figures["wheelseal, file"] = load(f"{url}{file}")
        peak = peak_memory(process.pid)
    with nginx(scene.scratch / "nginx") as url:
        figures["nginx, page"] = load(f"{url}/page.html")
        figures["nginx, file"] = load(f"{url}/file.whl")
    rows = [[name, f"{rate:,.0f}", f"{size(through)}/s"] for name, (rate, through) in figures.items()]
    section.table([f"{len(page):,} bytes of page, {len(served):,} of file", "requests/s", "bytes"], rows)
    section.figures.update({name: {"requests": rate, "bytes": through} for name, (rate, through) in figures.items()})
    section.figures["peak memory"] = peak
    reached(section, "pages in a second", figures["wheelseal, page"][0], 2_000, figures["nginx, page"][0])
    reached(section, "MB of files in a second", figures["wheelseal, file"][1] / 1e6, 1_000, figures["nginx, file"][1] / 1e6)
    section.note(f"Peak memory of the proxy: {size(peak)}. Every file is checked again each time it is given out.")


def reached(section: Section, what: str, ours: float, goal: float, theirs: float) -> None:
    """So many, or half of what nginx does."""
    ratio = ours / theirs
    section.holds(f"{what}: {goal:,.0f}, or half of nginx's", f"{ours:,.0f}, {ratio:.2f}", ours >= goal or ratio >= 0.5)


def peak_memory(pid: int) -> int:
    """Bytes that a running process had in memory, at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024


# W11


@dataclass
class Uploads:
    """What became of uploads."""

    wall: float
    each: list[float]

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 were answered."""
        return sorted(self.each)[max(0, -(-len(self.each) * 99 // 100) - 1)]


def form(path: Path) -> tuple[str, bytes]:
    """What twine sends: content type and body."""
    boundary = "----wheelseal-bench"
    content = path.read_bytes()
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": path.name.partition("-")[0].replace("_", "-"),
        "version": path.name.split("-")[1],
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
        "md5_digest": hashlib.md5(content).hexdigest(),
    }
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def upload_all(port: int, path: str, credentials: str, forms: list[tuple[str, bytes]]) -> Uploads:
    """All at once, each on a connection of its own."""
    each: list[float] = []
    faults: list[str] = []
    barrier = threading.Barrier(len(forms) + 1)
    authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def one(content_type: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        barrier.wait()
        start = time.perf_counter()
        try:
            connection.request(
                "POST", path, body, {"Content-Type": content_type, "Authorization": authorization}
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                faults.append(f"{answer.status} {text[:200]!r}")
        except OSError as error:
            faults.append(repr(error))
        each.append(time.perf_counter() - start)

    threads = [threading.Thread(target=one, args=form) for form in forms]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    if faults:
        raise Failed(f"{len(faults)} of {len(forms)} uploads failed: {faults[0]}")
    return Uploads(wall, each)


@contextmanager
def other_server(command: list[object], port: int, folder: Path) -> Iterator[None]:
    """A server of somebody else."""
    log = folder / "server.log"
    with open(log, "wb") as out:
        server = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        reachable(port, log)
        yield
    finally:
        server.terminate()
        server.wait()


def by_wheelseal(scene: Scene, folder: Path, forms: list[tuple[str, bytes]]) -> tuple[Uploads, bytes]:
    """Into a repository of the size of this run."""
    repo, tokens = scene.imported().folder, folder / "tokens.json"
    token = scene.start("token", "create", "--tokens", tokens, "--all", pipes=True).wait()[1].decode().split()[0]
    listen = ("serve", "--repo", repo, "--listen", "127.0.0.1:0", "--tokens", tokens, "--key", ONLINE)
    with serving(scene, *listen) as (url, _):
        done = upload_all(int(url.rpartition(":")[2]), "/legacy/", f"__token__:{token}", forms)
        return done, fetched(url, "/simple/uploaded/")


def by_pypiserver(scene: Scene, folder: Path, forms: list[tuple[str, bytes]]) -> tuple[Uploads, bytes]:
    """Into an empty folder, with nobody asked for a password."""
    programs, port = environment(scene, "bench-servers", SERVERS), free_port()
    (folder / "packages").mkdir()
    command = [programs / "pypi-server", "run", "-i", "127.0.0.1", "-p", port, "-P", ".", "-a", ".", folder / "packages"]
    with other_server(command, port, folder):
        done = upload_all(port, "/", "a:b", forms)
        return done, fetched(f"http://127.0.0.1:{port}", "/simple/uploaded/")


def by_devpi(scene: Scene, folder: Path, forms: list[tuple[str, bytes]]) -> tuple[Uploads, bytes]:
    """Into an empty index, without a mirror of another one."""
    programs, port = environment(scene, "bench-servers", SERVERS), free_port()
    state = folder / "devpi"
    init = [programs / "devpi-init", "--serverdir", state, "--no-root-pypi", "--root-passwd", "worthless"]
    subprocess.run(init, check=True, capture_output=True)
    command = [programs / "devpi-server", "--serverdir", state, "--host", "127.0.0.1", "--port", port, "--threads", "100"]
    with other_server(command, port, folder):
        base = f"http://127.0.0.1:{port}"
        session = asked(base, "POST", "/+login", {"user": "root", "password": "worthless"}, None)
        secret = json.loads(session)["result"]["password"]
        auth = base64.b64encode(f"root:{secret}".encode()).decode()
        asked(base, "PUT", "/root/dev", {"bases": [], "type": "stage", "volatile": False}, auth)
        done = upload_all(port, "/root/dev/", f"root:{secret}", forms)
        return done, fetched(base, "/root/dev/+simple/uploaded/")


def asked(base: str, method: str, path: str, body: dict[str, object], auth: str | None) -> bytes:
    """devpi's own way to be asked."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"))
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if auth:
        headers["X-Devpi-Auth"] = auth
    connection.request(method, path, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status not in (200, 201):
        raise Failed(f"{method} {path}\n{answer.status} {text[:500]!r}")
    return text


def w11(scene: Scene) -> None:
    """100 uploads at once, to us and to others."""
    section = scene.report.section("W11", f"{UPLOADS} parallel uploads of 1 MiB; ours into {scene.bins:,} bins")
    servers: dict[str, Callable[[Scene, Path, list[tuple[str, bytes]]], tuple[Uploads, bytes]]] = {
        "wheelseal": by_wheelseal, "pypiserver": by_pypiserver, "devpi": by_devpi,
    }  # fmt: skip
    rows, walls = [], {}
    for name, server in servers.items():
        folder = scene.scratch / f"uploads-{name}"
        folder.mkdir()
        wheels = [package(folder / "wheels", "uploaded", f"1.{number}", MIB) for number in range(UPLOADS)]
        done, page = server(scene, folder, [form(path) for path in wheels])
        lost = sum(path.name.encode() not in page for path in wheels)
        walls[name] = done.wall
        rows.append([name, seconds(done.wall), f"{UPLOADS / done.wall:.0f}", seconds(done.p99), str(lost)])
        section.figures[name] = {"wall": done.wall, "p99": done.p99, "lost": lost}
        section.holds(f"{name}: none lost", f"{lost} lost", lost == 0)
    section.table(["", "wall", "uploads/s", "p99", "lost"], rows)
    for other in ("pypiserver", "devpi"):
        section.at_most(f"wall, of {other}'s", walls["wheelseal"] / walls[other], 1)
    section.note(f"Others: {', '.join(f'{name} {version}' for name, version in SERVERS.items())}; wheelseal's uploads are signed, each answered when its snapshot is durable.")
