"""W3 and W4: what clients pay."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from harness.data import SIZED
from harness.measure import Cost, Process, median
from harness.relay import Exchange, Relay
from harness.report import Section, seconds, size
from harness.scene import Scene

RUNS = 9
# PEP 458, table 3: metadata bytes for one file, by V12, V14 and V16.
PEP_458 = {"same": 108_698, "warm": 207_002, "cold": 1_517_722}
STATES = {"cold": "nothing but a root", "warm": "one publication behind", "same": "up to date"}


class Served:
    """`wheelseal serve` with a relay before it, until closed."""

    def __init__(self, scene: Scene, repo: Path) -> None:
        self._process: Process = scene.start("serve", "--repo", repo, "--listen", "127.0.0.1:0", pipes=True)
        url = self._process.stdout.readline().split()[-1].decode().rstrip("/")
        self.relay = Relay(url)

    def close(self) -> None:
        """Stops both."""
        self.relay.close()
        self._process.send_signal(15)
        self._process.wait((0, -15))


@dataclass
class Visit:
    """What one client paid in one state, over several runs."""

    costs: list[Cost] = field(default_factory=list)
    exchanges: list[list[Exchange]] = field(default_factory=list)

    @property
    def metadata(self) -> int:
        """Bytes received for metadata, heads of the answers included; of the run with the most."""
        return max(sum(one.received for one in run if "/metadata/" in one.path) for run in self.exchanges)

    @property
    def requests(self) -> int:
        """All of them, of the run with the most."""
        return max(map(len, self.exchanges))


def put(scene: Scene, repo: Path, number: int) -> str:
    """Puts a target's file where the repository has it. Its path."""
    path, file = scene.data.path(number), scene.data.file(number)
    folder, _, name = path.rpartition("/")
    to = repo / "targets" / folder / f"{hashlib.sha256(file.read_bytes()).hexdigest()}.{name}"
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    return path


class Ours:
    """wheelseal as a client."""

    def __init__(self, scene: Scene, url: str, root: Path, target: str) -> None:
        self.scene, self.url, self.root, self.target = scene, url, root, target
        self.state = scene.scratch / "home" / "XDG_STATE_HOME"

    def forget(self) -> None:
        """As before the first visit."""
        self.scene.start("trust", "remove", "bench").wait((0, 2))
        self.scene.run("trust", "add", "bench", self.url, "--root", self.root)

    def visit(self) -> Cost:
        """One verified download."""
        to = self.scene.scratch / "downloads"
        shutil.rmtree(to, ignore_errors=True)
        return self.scene.run("download", "--trust", "bench", "--to", to, self.target)


class Theirs:
    """python-tuf as a client."""

    def __init__(self, scene: Scene, url: str, root: Path, target: str) -> None:
        self.scene, self.url, self.root, self.target = scene, url, root, target
        self.cache = scene.scratch / "python-tuf-client"

    def forget(self) -> None:
        """As before the first visit."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def visit(self) -> Cost:
        """One verified download."""
        shutil.rmtree(self.cache / "targets", ignore_errors=True)
        return self.scene.peer("client.py", self.url, self.root, self.cache, self.target)[0]


Visits = dict[tuple[str, str], Visit]


def w3(scene: Scene, runs: int = RUNS) -> None:
    """One target over loopback HTTP."""
    repo = scene.imported().folder
    section = scene.report.section(
        "W3", f"client, one target of 100,000 bytes, {scene.bins:,} bins, loopback HTTP"
    )
    visits = visit_all(scene, repo, runs, peer=True)
    rows = []
    for state, meaning in STATES.items():
        for name in ("wheelseal", "python-tuf"):
            visit = visits[name, state]
            cost = median(visit.costs)
            figures = [
                seconds(cost.cpu),
                seconds(cost.wall),
                size(cost.peak),
                str(visit.requests),
                str(visit.metadata),
            ]
            rows.append([f"{name}, {state} ({meaning})", *figures, str(PEP_458[state])])
            section.figures[f"{name} {state}"] = {
                **cost.json(),
                "metadata": visit.metadata,
                "requests": visit.requests,
            }
    header = ["", "CPU", "wall", "peak memory", "requests", "metadata bytes", "PEP 458 expects"]
    section.table(header, rows)
    count = versions(repo)
    section.note(
        f"The snapshot names bins of {count} different versions; the fewer, the better it compresses."
    )
    goals(section, visits)


def versions(repo: Path) -> int:
    """How many different versions of bins the snapshot names."""
    snapshot = max(
        (repo / "metadata").glob("*.snapshot.json"), key=lambda file: int(file.name.partition(".")[0])
    )
    meta = json.loads(snapshot.read_bytes())["signed"]["meta"]
    return len({entry["version"] for name, entry in meta.items() if name.startswith("bins-")})


def goals(section: Section, visits: Visits) -> None:
    """The limits of each state."""
    ours = {state: visits["wheelseal", state] for state in STATES}
    cpu = {state: median(visit.costs).cpu for state, visit in ours.items()}
    section.at_most("cold: CPU", cpu["cold"], 0.025, seconds)
    section.fraction(
        "cold: CPU of python-tuf's", cpu["cold"], median(visits["python-tuf", "cold"].costs).cpu, 20
    )
    section.at_most("cold: requests", ours["cold"].requests, 7)
    section.at_most("cold: metadata on the wire", ours["cold"].metadata, 100_000, size)
    section.at_most("warm: CPU", cpu["warm"], 0.015, seconds)
    section.at_most("warm: metadata on the wire", ours["warm"].metadata, 15_000, size)
    for state, variant in (("same", "V12"), ("warm", "V14"), ("cold", "V16")):
        what = f"{state}: metadata on the wire, PEP 458's {variant}"
        section.at_most(what, ours[state].metadata, PEP_458[state], size)


def visit_all(scene: Scene, repo: Path, runs: int, peer: bool) -> Visits:
    """Both clients in turn, in every state."""
    target = put(scene, repo, SIZED)
    served = Served(scene, repo)
    root = repo / "metadata" / "1.root.json"
    clients: dict[str, Ours | Theirs] = {"wheelseal": Ours(scene, served.relay.url, root, target)}
    if peer:
        clients["python-tuf"] = Theirs(scene, served.relay.url, root, target)
    visits: Visits = {(name, state): Visit() for name in clients for state in STATES}
    try:
        for _ in range(runs):
            for client in clients.values():
                client.forget()
            for state in STATES:
                if state == "warm":
                    scene.run("add", "--repo", repo, scene.wheel())
                for name, client in clients.items():
                    served.relay.taken()
                    visits[name, state].costs.append(client.visit())
                    visits[name, state].exchanges.append(served.relay.taken())
    finally:
        served.close()
    return visits


def w4(scene: Scene) -> None:
    """Check files that are here already."""
    tsv = scene.data.tsv(SIZED)
    section = scene.report.section("W4", f"verify {SIZED:,} local files")
    folder = scene.data.files
    repo = scene.imported(SIZED, 16).folder
    client = Ours(scene, str(repo), repo / "metadata" / "1.root.json", "")
    client.forget()
    names = scene.scratch / "files"
    names.write_text("\n".join(str(scene.data.file(number)) for number in range(SIZED)))
    rates = scene.rates("--hash", names)
    verify = ["verify", "--trust", "bench", "--below", folder]
    ours = median([scene.run(*verify) for _ in range(3)])
    peers = [scene.peer("verify.py", tsv, folder) for _ in range(3)]
    whole = median([cost for cost, _ in peers])
    loop = Cost(min(said["cpu"] for _, said in peers), min(said["wall"] for _, said in peers), whole.peak)
    section.costs(
        [("wheelseal verify", ours), ("python-tuf, all", whole), ("python-tuf, the checks alone", loop)]
    )
    parts = [["SHA-256 alone", seconds(rates["hash_files"])]]
    parts.append(["reading and SHA-256", seconds(rates["read_and_hash_files"])])
    section.table(["raw, one core", "CPU"], parts)
    section.figures["raw"] = {name: rates[name] for name in ("hash_files", "read_and_hash_files")}
    section.at_most("CPU, of SHA-256 alone", ours.cpu / rates["hash_files"], 1.1)
    section.fraction("wall of python-tuf's checks", ours.wall, loop.wall, 2)
