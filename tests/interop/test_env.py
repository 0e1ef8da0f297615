"""Environments that real pip and uv made, held against verified wheels; and what an attacker may do to them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Callable

import pytest
from helpers import tools
from helpers.sealed import Sealed
from helpers.tools import Tool
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, clean_environment

MORE = {
    "pkg/__init__.py": "def main():\n    return 0\n",
    "pkg/data.txt": "data\n",
    "INFO/entry_points.txt": "[console_scripts]\nseal-it = pkg:main\n[gui_scripts]\nseal-gui = pkg:main\n",
    "DATA/scripts/seal-tool": "#!python\nimport pkg\nprint(pkg.main())\n",
    "DATA/scripts/seal-shell": "#!/bin/sh\necho sealed\n",
    "DATA/data/share/seal/notes.txt": "notes\n",
    "DATA/headers/seal.h": "#define SEAL 1\n",
    "DATA/purelib/pure_seal.py": "PURE = True\n",
}


class Place:
    """A repository with two projects, a user who trusts it, and an environment."""

    def __init__(self, wheelseal: Wheelseal, home: Path, name: str = "env") -> None:
        self.home = home
        self.wheelseal = wheelseal
        self.sealed = Sealed(wheelseal, home / "repo")
        self.sealed.init()
        self.dists = home / "dists"
        wheels = [wheel(self.dists, "seal", "1.0", more=MORE), wheel(self.dists, "wax", "1.0")]
        self.sealed.run("add", *wheels)
        wheelseal("trust", "add", "mine", self.sealed.folder, "--root", self.sealed.first_root)
        self.env = home / name

    @property
    def site(self) -> Path:
        """Where modules are installed."""
        (site,) = self.env.glob("lib/python*/site-packages")
        return site

    def make(self) -> None:
        """An environment with nothing in it."""
        venv.create(self.env, with_pip=False, symlinks=True)

    def pip(self, pip: Tool, *wanted: str) -> None:
        """pip installs into the environment."""
        self.make()
        python = self.env / "bin" / "python"
        command = (str(python), "-m", "pip", "install", "--no-index", "--find-links", str(self.dists), *wanted)
        self.run(pip, command)

    def uv(self, uv: Tool, mode: str, *wanted: str) -> None:
        """uv makes an environment and installs into it."""
        self.run(uv, (*uv.command, "venv", str(self.env)))
        where = ("--python", str(self.env), "--no-index", "--find-links", str(self.dists), "--link-mode", mode)
        self.run(uv, (*uv.command, "pip", "install", *where, *wanted))

    def run(self, tool: Tool, command: tuple[str, ...]) -> None:
        """Runs a tool that must succeed."""
        env = {**clean_environment(), **tool.env, "UV_CACHE_DIR": str(self.home / "uv-cache")}
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def verify(self, *args: object, code: int = 0) -> str:
        """`verify --env`, with a cache of its own."""
        cache = {"XDG_CACHE_HOME": str(self.home / "cache")}
        done = self.wheelseal.run("verify", "--env", self.env, *args, env=cache)
        assert done.code == code, f"{done.code}: {done.out}{done.err}"
        return done.out


@pytest.fixture(scope="session")
def newest(binary: Path) -> Tool:
    """The newest pip."""
    return tools.pip(binary, tools.PIPS[-1])


@pytest.fixture
def place(wheelseal: Wheelseal, tmp_path: Path, newest: Tool) -> Place:
    """An environment with both projects."""
    place = Place(wheelseal, tmp_path)
    place.pip(newest, "seal", "wax")
    return place


@pytest.mark.parametrize("name", ["env", "an env"])
def test_what_pip_installed_is_what_was_signed(wheelseal: Wheelseal, tmp_path: Path, pip: Tool, name: str) -> None:
    place = Place(wheelseal, tmp_path, name)
    place.pip(pip, "seal", "wax")
    assert (place.env / "bin" / "seal-it").is_file() and (place.env / "share" / "seal" / "notes.txt").is_file()
    said = place.verify()
    assert "ok seal 1.0: is seal-1.0-py3-none-any.whl" in said and "ok wax 1.0" in said


@pytest.mark.parametrize("name", ["env", "an env"])
@pytest.mark.parametrize("mode", ["copy", "hardlink"])
def test_what_uv_installed_is_what_was_signed(
    wheelseal: Wheelseal, tmp_path: Path, uv: Tool, mode: str, name: str
) -> None:
    place = Place(wheelseal, tmp_path, name)
    place.uv(uv, mode, "seal", "wax")
    said = place.verify()
    assert "ok seal 1.0: is seal-1.0-py3-none-any.whl" in said and "ok wax 1.0" in said


def test_the_environment_is_found_by_its_python_its_modules_and_its_variable(place: Place) -> None:
    home = place.env
    for path in (home / "bin" / "python", place.site):
        place.env = path
        assert "ok seal 1.0" in place.verify()
    place.env = home
    done = place.wheelseal.run("verify", "--env", env={"VIRTUAL_ENV": str(home), "XDG_CACHE_HOME": str(place.home)})
    assert done.code == 0 and "ok wax 1.0" in done.out, done.err


def change(path: Path) -> None:
    """One byte becomes another one; neither length nor time changes."""
    times = path.stat()
    text = bytearray(path.read_bytes())
    text[-2] ^= 1
    path.unlink()
    path.write_bytes(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def with_record(place: Place, line: str) -> None:
    """Adds a line to the record of `seal`."""
    record = place.site / "seal-1.0.dist-info" / "RECORD"
    record.write_text(f"{record.read_text()}{line}\n")


def changed_with_its_record(place: Place) -> None:
    """What an attacker who knows RECORD does."""
    module = place.site / "seal.py"
    module.write_text("evil = True\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(module.read_bytes()).digest()).rstrip(b"=").decode()
    record = place.site / "seal-1.0.dist-info" / "RECORD"
    lines = [line for line in record.read_text().splitlines() if not line.startswith("seal.py,")]
    record.write_text("\n".join([*lines, f"seal.py,sha256={digest},12"]) + "\n")


def stranger(name: str, text: str = "import os\n") -> Callable[[Place], object]:
    """A file that belongs to nothing."""

    def act(place: Place) -> None:
        path = place.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return act


def listed_pth(place: Place) -> None:
    """A .pth that RECORD has."""
    stranger("evil.pth")(place)
    with_record(place, "evil.pth,,")


def script(place: Place) -> None:
    """A script that does something before it calls its entry point."""
    path = place.env / "bin" / "seal-it"
    path.write_text(path.read_text().replace("import sys\n", "import sys\nimport evil\n"))


def interpreter(place: Place) -> None:
    """A script that another interpreter runs."""
    path = place.env / "bin" / "seal-tool"
    first, rest = path.read_text().split("\n", 1)
    assert first.startswith("#!")
    path.write_text(f"#!/tmp/python\n{rest}")


def shebang(arguments: str) -> Callable[[Place], object]:
    """A script whose interpreter is told to run something else first."""

    def act(place: Place) -> None:
        path = place.env / "bin" / "seal-it"
        rest = path.read_text().split("\n", 1)[1]
        path.write_text(f"#!{place.env}/bin/python{arguments}\n{rest}")

    return act


def long_script(place: Place) -> None:
    """A script that does something else behind more bytes than are read."""
    path = place.env / "bin" / "seal-it"
    path.write_text(path.read_text() + "\n" * (16 * 1024 * 1024) + "import evil\n")


def script_not_in_record(place: Place) -> None:
    """A script that RECORD does not have any more."""
    record = place.site / "seal-1.0.dist-info" / "RECORD"
    lines = [line for line in record.read_text().splitlines() if "bin/seal-it" not in line]
    record.write_text("\n".join(lines) + "\n")
    (place.env / "bin" / "seal-it").write_text("import evil\n")


def beside_scripts(name: str) -> Callable[[Place], object]:
    """A module in the folder of scripts, where a script looks first."""

    def act(place: Place) -> None:
        path = place.env / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("evil = True\n")

    return act


def linked_scripts(place: Place) -> None:
    """The folder of scripts is elsewhere."""
    shutil.move(place.env / "bin", place.home / "elsewhere")
    (place.env / "bin").symlink_to(place.home / "elsewhere")


def link(place: Place) -> None:
    """A module becomes a link to a file elsewhere, which has the same bytes for now."""
    path = place.site / "wax.py"
    elsewhere = place.home / "elsewhere.py"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def from_elsewhere(place: Place) -> None:
    """A wheel of the same name and version, by another hand."""
    shutil.rmtree(place.env)
    wheel(place.home / "evil", "seal", "1.0", text="evil", more=MORE)
    good, place.dists = place.dists, place.home / "evil"
    place.pip(tools.pip(place.wheelseal.binary, tools.PIPS[-1]), "seal")
    place.dists = good


ATTACKS: dict[str, tuple[Callable[[Place], object], str]] = {
    "a byte": (lambda place: change(place.site / "pkg" / "__init__.py"), "pkg/__init__.py is not what the wheel has"),
    "a byte, with RECORD": (changed_with_its_record, "seal.py is not what the wheel has"),
    "data elsewhere": (lambda place: change(place.env / "share/seal/notes.txt"), "share/seal/notes.txt is not what"),
    "a .pth": (stranger("evil.pth"), "evil.pth belongs to nothing that is installed"),
    "a .pth in RECORD": (listed_pth, "evil.pth is in RECORD, and not in the wheel"),
    "sitecustomize": (stranger("sitecustomize.py"), "sitecustomize.py belongs to nothing"),
    "a module that hides another": (stranger("json/__init__.py"), "json/__init__.py belongs to nothing"),
    "a module left behind": (stranger("pkg/old.py"), "pkg/old.py belongs to nothing"),
    "bytecode of nothing": (stranger("pkg/__pycache__/gone.cpython-311.pyc"), "gone.cpython-311.pyc belongs to nothing"),
    "a script": (script, "bin/seal-it does more than call its entry point"),
    "a script that RECORD has not": (script_not_in_record, "bin/seal-it does more than call its entry point"),
    "a long script": (long_script, "bin/seal-it cannot be read"),
    "an argument": (shebang(' -cprint("EVIL")'), "bin/seal-it does more than call its entry point"),
    "a module to run": (shebang(" -mevil"), "bin/seal-it does more than call its entry point"),
    "a like name": (shebang("-evil"), "bin/seal-it does more than call its entry point"),
    "a module beside scripts": (beside_scripts("pkg.py"), "bin/pkg.py belongs to nothing"),
    "an extension beside scripts": (beside_scripts("pkg.abi3.so"), "bin/pkg.abi3.so belongs to nothing"),
    "a package beside scripts": (beside_scripts("pkg/__init__.py"), "bin/pkg belongs to nothing"),
    "scripts behind a link": (linked_scripts, "bin is a link"),
    "an interpreter": (interpreter, "bin/seal-tool is not what the wheel has"),
    "a script of the wheel": (lambda place: change(place.env / "bin/seal-shell"), "bin/seal-shell is not what"),
    "a link": (link, "wax.py is a link"),
    "a file less": (lambda place: (place.site / "pkg" / "data.txt").unlink(), "pkg/data.txt is missing"),
    "no RECORD": (lambda place: (place.site / "seal-1.0.dist-info/RECORD").unlink(), "RECORD does not read"),
    "out of the environment": (
        lambda place: with_record(place, "../../../../../../../etc/passwd,,"),
        "etc/passwd is in RECORD, and outside of the environment",
    ),
    "entry points": (
        lambda place: change(place.site / "seal-1.0.dist-info" / "entry_points.txt"),
        "entry_points.txt is not what the wheel has",
    ),
    "another wheel of that version": (from_elsewhere, "seal.py is not what the wheel has"),
    "another version": (
        lambda place: (place.site / "wax-1.0.dist-info").rename(place.site / "wax-1.1.dist-info"),
        "BAD wax 1.1: no such wheel is signed",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_an_environment_is_seen(place: Place, attack: str) -> None:
    act, told = ATTACKS[attack]
    place.verify()
    act(place)
    assert told in place.verify(code=3)


def test_a_script_of_two_packages_is_held_against_the_one_that_has_it(place: Place, newest: Tool) -> None:
    more = {"INFO/entry_points.txt": "[console_scripts]\nseal-it = other:main\n"}
    place.sealed.run("add", wheel(place.dists, "other", "1.0", more=more))
    command = (str(place.env / "bin" / "python"), "-m", "pip", "install", "--no-index", "--find-links")
    place.run(newest, (*command, str(place.dists), "other"))
    assert "from other import main" in (place.env / "bin" / "seal-it").read_text()
    said = place.verify()
    assert "ok seal 1.0" in said and "ok other 1.0" in said
    change(place.site / "other.py")
    assert "bin/seal-it does more than call its entry point" in place.verify(code=3)


def test_modules_behind_a_link_are_not_passed_over(place: Place) -> None:
    site, decoy = place.site, place.env / "lib" / "python3.99" / "site-packages"
    shutil.copytree(site, decoy)
    shutil.move(site, place.home / "outside")
    site.symlink_to(place.home / "outside")
    (site / "wax.py").write_text("evil = True\n")
    done = place.wheelseal.run("verify", "--env", place.env, env={"XDG_CACHE_HOME": str(place.home / "cache")})
    assert done.code != 0 and "site-packages is a link, or behind one" in done.err, done.out + done.err


def test_nothing_of_the_environment_is_run(place: Place) -> None:
    marker = place.home / "ran"
    stranger("evil.pth", f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n")(place)
    python = place.env / "bin" / "python"
    python.unlink()
    python.write_text(f"#!/bin/sh\ntouch {marker}\n")
    python.chmod(0o755)
    place.verify(code=3)
    assert not marker.exists()


def test_what_no_index_answers_for_is_named_and_not_called_good(place: Place, newest: Tool) -> None:
    other = wheel(place.home / "other", "other", "1.0")
    python = str(place.env / "bin" / "python")
    place.run(newest, (python, "-m", "pip", "install", "--no-index", str(other)))
    said = place.verify(code=9)
    assert "unchecked other 1.0: comes from file://" in said and "ok seal 1.0" in said
    assert "left out other 1.0" in place.verify("--except", "other")
    shutil.rmtree(place.home / "other")
    (place.site / "other-1.0.dist-info" / "direct_url.json").unlink()
    assert "unchecked other 1.0: the repository has no such project" in place.verify(code=9)


def test_a_package_that_is_left_out_owns_what_is_its_own_alone(place: Place, newest: Tool) -> None:
    other = wheel(place.home / "other", "other", "1.0")
    python = str(place.env / "bin" / "python")
    place.run(newest, (python, "-m", "pip", "install", "--no-index", str(other)))
    place.verify("--except", "other")
    record = place.site / "other-1.0.dist-info" / "RECORD"
    good = record.read_text()
    for name in ("evil.pth", "sitecustomize.py", "pkg/evil.py", "wax.abi3.so"):
        stranger(name)(place)
        record.write_text(f"{good}{name},,\n")
        assert f"{name} belongs to nothing" in place.verify("--except", "other", code=3)
        (place.site / name).unlink()
    record.write_text(good)
    stranger("other-0.9.dist-info/RECORD", "other-0.9.dist-info/METADATA,,\n")(place)
    assert "BAD other 0.9: is there more than once" in place.verify("--except", "other", code=3)


def test_what_python_puts_into_a_new_environment_can_be_left_out(wheelseal: Wheelseal, tmp_path: Path) -> None:
    place = Place(wheelseal, tmp_path)
    venv.create(place.env, with_pip=True, symlinks=True)
    assert "left out pip" in place.verify("--except", "pip", "--except", "setuptools")


def test_what_was_built_from_an_sdist_cannot_be_compared(wheelseal: Wheelseal, tmp_path: Path, newest: Tool) -> None:
    place = Place(wheelseal, tmp_path)
    place.sealed.run("add", sdist(tmp_path / "sdists", "built", "1.0"))
    wheel(place.dists, "built", "1.0")
    place.pip(newest, "built", "seal")
    assert "unchecked built 1.0: was built here" in place.verify(code=9)
    assert "ok built 1.0: was built here" in place.verify("--allow-built", "Built")
    assert "unchecked built 1.0: was built here" in place.verify("--allow-built", "seal", code=9)


def test_what_was_built_is_believed_of_the_named_packages_alone(place: Place, tmp_path: Path) -> None:
    """Else who changes a file would change one tag along, so that no signed wheel is compared."""
    place.sealed.run("add", sdist(tmp_path / "sdists", "seal", "1.0"))
    notes = place.site / "seal-1.0.dist-info" / "WHEEL"
    notes.write_text(notes.read_text().replace("py3-none-any", "cp311-cp311-linux_x86_64"))
    assert "unchecked seal 1.0: was built here" in place.verify("--allow-built", "wax", code=9)


def test_a_yanked_wheel_is_told_and_a_lying_mirror_found_out(place: Place) -> None:
    place.sealed.run("yank", "wax-1.0-py3-none-any.whl")
    assert "ok wax 1.0: is wax-1.0-py3-none-any.whl, which was yanked" in place.verify()
    shutil.rmtree(place.home / "cache")
    for path in place.sealed.folder.glob("targets/wax/*.whl"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "BAD wax 1.0: wax/wax-1.0-py3-none-any.whl is not the file that was signed" in place.verify(code=3)


def test_bytecode_and_named_files_are_allowed_or_not(place: Place) -> None:
    assert list(place.site.glob("pkg/__pycache__/*.pyc")), "pip compiles"
    place.verify()
    assert "is bytecode, which cannot be compared" in place.verify("--no-bytecode", code=3)
    stranger("local.pth", "/opt/x\n")(place)
    place.verify(code=3)
    place.verify("--allow-file", "local.pth")


def test_json_has_every_package_and_stranger(place: Place) -> None:
    stranger("evil.pth")(place)
    change(place.site / "wax.py")
    done = place.wheelseal.run("verify", "--json", "--env", place.env, env={"XDG_CACHE_HOME": str(place.home)})
    report = json.loads(done.out)
    assert done.code == 3
    verdicts = {package["project"]: package["verdict"] for package in report["packages"]}
    assert verdicts == {"seal": "verified", "wax": "differs"}
    assert [file["path"].rsplit("/", 1)[1] for file in report["strangers"]] == ["evil.pth"]
