"""pip and uv, unmodified, install from a folder that `sync` made: through file://, with no network at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.server import Server, folder
from helpers.tools import Tool
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, clean_environment

# Nobody listens there, so whoever asks the network fails.
NOWHERE = "http://127.0.0.1:9"


class Index:
    """A repository, served, and a user who trusts it."""

    def __init__(self, wheelseal: Wheelseal, home: Path) -> None:
        self.home = home
        self.wheelseal = wheelseal
        self.sealed = Sealed(wheelseal, home / "repo")
        self.sealed.init()
        dists = home / "dists"
        app = wheel(dists, "app", "1.0", requires=("seal>=1", "wax; sys_platform == 'win32'"))
        seals = [wheel(dists, "seal", version) for version in ("1.0", "1.1")]
        local = wheel(dists, "seal", "1.1+local.2")
        self.sealed.run("add", app, *seals, local, wheel(dists, "wax", "1.0"), sdist(dists, "wax", "1.0"))
        self.server = Server(folder(self.sealed.folder))
        wheelseal("trust", "add", "mine", "--index", f"{self.server.url}/simple/", "--root", self.sealed.first_root)

    @property
    def out(self) -> Path:
        """The folder. Its name has what URLs quote."""
        return self.home / "a stick+"

    def sync(self, *args: object, code: int = 0) -> str:
        """Runs `sync` into the folder."""
        return self.wheelseal("sync", "--to", self.out, *args, code=code)


@pytest.fixture
def index(wheelseal: Wheelseal, tmp_path: Path):
    """Three projects, one of which wants the two others."""
    index = Index(wheelseal, tmp_path)
    yield index
    index.server.close()


def offline(tool: Tool, at: Path, *args: str, code: int = 0) -> str:
    """Runs a tool that cannot reach anybody; all it said."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), NOWHERE)
    env = {**clean_environment(), **proxies, "NO_PROXY": "", "no_proxy": "", "UV_CACHE_DIR": str(at / "cache"), **tool.env}
    ran = subprocess.run([*tool.command, *args], env=env, cwd=at, capture_output=True, text=True, timeout=300)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def pip_install(pip: Tool, index: Index, *wanted: str, code: int = 0) -> str:
    """`pip install` from the folder into `site`."""
    options = ("--no-cache-dir", "--target", "site", "--index-url", f"{index.out.as_uri()}/simple/")
    return offline(pip, index.home, "install", *options, *wanted, code=code)


def uv_install(uv: Tool, index: Index, *wanted: str, code: int = 0) -> str:
    """`uv pip install` from the folder into `site`."""
    options = ("--target", "site", "--default-index", f"{index.out.as_uri()}/simple/")
    return offline(uv, index.home, "pip", "install", *options, *wanted, code=code)


def installed(index: Index) -> set[str]:
    """What was installed."""
    return {path.name.removesuffix(".dist-info") for path in (index.home / "site").glob("*.dist-info")}


def test_pip_installs_from_the_whole_repository(index: Index, pip: Tool) -> None:
    index.sync()
    index.server.close()
    pip_install(pip, index, "app", "seal<1.1")
    assert installed(index) == {"app-1.0", "seal-1.0"}


def test_uv_installs_from_the_whole_repository(index: Index, uv: Tool) -> None:
    index.sync()
    index.server.close()
    uv_install(uv, index, "app", "seal<1.1")
    assert installed(index) == {"app-1.0", "seal-1.0"}


def test_pip_finds_a_local_version_and_by_find_links_too(index: Index, pip: Tool) -> None:
    index.sync("app", "--python", "3.11", "--platform", "linux-x86_64")
    pip_install(pip, index, "app")
    assert installed(index) == {"app-1.0", "seal-1.1+local.2"}, "the newest, whose name is quoted in the page"
    assert not (index.out / "targets" / "wax").exists(), "no machine that was meant wants it"
    links = ("--no-index", "--find-links", str(index.out / "targets" / "seal"), "--target", "other", "seal")
    offline(pip, index.home, "install", "--no-cache-dir", *links)
    assert (index.home / "other" / "seal.py").is_file()


def test_uv_resolves_and_syncs_a_project_from_the_folder(index: Index, uv: Tool) -> None:
    index.sync("app")
    project = index.home / "project"
    project.mkdir()
    text = '[project]\nname = "thing"\nversion = "1.0"\nrequires-python = ">=3.9"\ndependencies = ["app"]\n'
    url = f"{index.out.as_uri()}/simple/"
    (project / "pyproject.toml").write_text(f'{text}[[tool.uv.index]]\nurl = "{url}"\ndefault = true\n')
    offline(uv, project, "sync")
    assert list(project.glob(".venv/lib/python*/site-packages/app.py"))
    # The lock it made is held against the repository, and brings the same files.
    assert "are as signed" in index.wheelseal("verify", "--lock", project / "uv.lock")
    again = index.wheelseal.json("sync", "--to", index.home / "locked", "--lock", project / "uv.lock")
    assert again["left_out"] == []
    names = {path.name for path in (index.home / "locked").glob("targets/*/*") if path.suffix != ".metadata"}
    assert names >= {"app-1.0-py3-none-any.whl", "wax-1.0-py3-none-any.whl", "wax-1.0.tar.gz"}


def test_a_lock_of_hashes_is_installed_from_the_folder(index: Index, pip: Tool) -> None:
    digest = hashlib.sha256((index.home / "dists" / "seal-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lock = index.home / "locked.txt"
    lock.write_text(f"seal==1.0 --hash=sha256:{digest}\n")
    index.sync("--lock", lock)
    pip_install(pip, index, "--require-hashes", "-r", str(lock))
    assert installed(index) == {"seal-1.0"}
    record = json.loads((index.out / "wheelseal-sync.json").read_text())
    assert digest in {file["sha256"] for file in record["files"]}


def test_a_file_swapped_on_the_way_is_refused_by_pip_and_mended_by_the_next_run(index: Index, pip: Tool) -> None:
    index.sync("seal==1.0")
    file = index.out / "targets" / "seal" / "seal-1.0-py3-none-any.whl"
    good = file.read_bytes()
    file.write_bytes(wheel(index.home / "evil", "seal", "1.0", text="evil = True\n").read_bytes())
    assert "HASH" in pip_install(pip, index, "seal", code=1).upper()
    said = index.wheelseal("verify", "--below", index.out / "targets", code=3)
    assert "BAD" in said and "seal-1.0-py3-none-any.whl" in said
    index.sync("seal==1.0")
    assert file.read_bytes() == good
    pip_install(pip, index, "seal")
    assert installed(index) == {"seal-1.0"}


def test_a_mirror_that_lies_gets_nothing_into_the_folder(index: Index) -> None:
    lied = index.sealed.folder / "targets" / "seal"
    for path in lied.glob("*seal-1.1-py3*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = index.wheelseal.run("sync", "--to", index.out)
    assert done.code == 3 and "left out seal-1.1-py3-none-any.whl" in done.err, done.err
    there = {path.name for path in (index.out / "targets" / "seal").iterdir()}
    assert "seal-1.1-py3-none-any.whl" not in there and "seal-1.0-py3-none-any.whl" in there
    assert "seal-1.1-py3" not in (index.out / "simple" / "seal" / "index.html").read_text()


def test_what_an_sdist_depends_on_is_read_from_the_verified_file(index: Index) -> None:
    index.sealed.run("add", sdist(index.home / "dists", "old-style", "1.0", requires=("seal<1.1",)))
    dry = index.wheelseal.run("sync", "--to", index.out, "--dry-run", "old-style")
    assert dry.code == 0 and "unknown what old_style-1.0.tar.gz depends on" in dry.err
    index.sync("old-style")
    assert {path.name for path in (index.out / "targets").iterdir()} == {"old-style", "seal"}
    assert (index.out / "targets/seal/seal-1.0-py3-none-any.whl").is_file()


def test_a_server_that_has_not_got_a_file_is_told_from_one_that_lies(index: Index) -> None:
    for path in (index.sealed.folder / "targets" / "seal").glob("*seal-1.1-py3*"):
        path.unlink()
    done = index.wheelseal.run("sync", "--to", index.out)
    assert done.code == 7 and "the repository has no seal/" in done.err, done.err
    assert (index.out / "targets/seal/seal-1.0-py3-none-any.whl").is_file()
    index.server.close()
    assert index.wheelseal.run("sync", "--to", index.out).code == 7
    assert (index.out / "simple/seal/index.html").is_file()
