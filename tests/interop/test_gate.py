"""python-tuf at the gate of ceremonies: the real one reads what is about to be published."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, key

SCRIPT = Path(__file__).resolve().parents[2] / "src" / "cli" / "gate" / "python_tuf.py"
LONG_AFTER = "2190-01-01T00:00:00+00:00"


@pytest.fixture(params=["succinct", "prefixes"])
def sealed(wheelseal: Wheelseal, tmp_path: Path, request: pytest.FixtureRequest) -> Sealed:
    """A repository with two projects, and a ceremony `new` that gives root another key."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(style=request.param, bins=4)
    sealed.run("add", wheel(tmp_path, "seal", "1.0"), wheel(tmp_path, "wax", "2.1"))
    sealed.run("ceremony", "start", "new", "--add-key", f"root={key('root-2')}", "--renew", "bins")
    for name in ("root-1", "root-2", "targets-1"):
        sealed.run("ceremony", "sign", "new", "--yes", keys=[key(name)])
    return sealed


def test_it_reads_what_a_ceremony_publishes(sealed: Sealed) -> None:
    sealed.run("ceremony", "finish", "new", "--gate", "python-tuf", "--python", sys.executable)
    assert (sealed.folder / "metadata" / "2.root.json").exists()
    expiry = ("role", "set-expiry", "targets", "400", "--gate", "python-tuf", "--python", sys.executable)
    sealed.run(*expiry, keys=[key("targets-1")])


def test_it_reads_bins_that_were_divided_anew(sealed: Sealed) -> None:
    flags = ("--gate", "python-tuf", "--python", sys.executable)
    sealed.run("ceremony", "finish", "new", *flags)
    sealed.run("ceremony", "start", "more", "--bins", "8")
    sealed.run("ceremony", "sign", "more", "--yes", keys=[key("targets-1")])
    sealed.run("ceremony", "finish", "more", *flags)


@pytest.mark.usefixtures("clock")
def test_a_project_whose_maintainers_are_late_hides_no_other(sealed: Sealed, tmp_path: Path) -> None:
    flags = ("--gate", "python-tuf", "--python", sys.executable)
    sealed.run("ceremony", "finish", "new", *flags)
    sealed.run("claims", "enable", keys=[key("targets-1")])
    sealed.wheelseal("trust", "add", "mine", sealed.folder, "--root", sealed.first_root)
    for project, days in (("seal", 2), ("wax", 300)):
        file = tmp_path / f"{project}.json"
        claim = ("--trust", "mine", "--expires", days, "--out", file, "--key", key("root-3"))
        sealed.wheelseal("project", "claim", project, *claim)
        sealed.run("claims", "apply", file)
    expiry = ("role", "set-expiry", "targets", 400, "--repo", sealed.folder, "--key", key("targets-1"), *flags)
    sealed.wheelseal(*expiry, at="+4d")
    # The bucket that delegates to both is read each time.
    bucket = newest(sealed, "recently-claimed-0000")
    assert b"project-wax" in bucket.read_bytes()
    bucket.write_bytes(bucket.read_bytes().replace(b"project-wax", b"project-max"))
    refused = sealed.wheelseal.run(*expiry, "--name", "again", at="+4d")
    assert refused.code == 3 and "recently-claimed-0000" in refused.err, refused.err


def newest(sealed: Sealed, role: str) -> Path:
    """The newest file of a role."""
    files = (sealed.folder / "metadata").glob(f"*.{role}.json")
    return max(files, key=lambda file: int(file.name.split(".")[0]))


def ask(
    folder: Path, wanted: dict[str, object], *, flags: tuple[str, ...] = ("-I",), now: str = ""
) -> tuple[int, str]:
    """What the script of the gate says of a repository: its exit code and its words."""
    work = folder.parent / "asked"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / "metadata", work / "metadata")
    shutil.copy(folder / "metadata" / "1.root.json", work / "root.json")
    (work / "wanted.json").write_text(json.dumps(wanted))
    command = [sys.executable, *flags, "-c", SCRIPT.read_text(), str(work), now or in_time(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={})
    return ran.returncode, ran.stderr


def in_time(folder: Path) -> str:
    """One second before the timestamp expires."""
    expires = json.loads((folder / "metadata" / "timestamp.json").read_text())["signed"]["expires"]
    return (datetime.fromisoformat(expires.replace("Z", "+00:00")) - timedelta(seconds=1)).isoformat()


def test_its_answers(sealed: Sealed) -> None:
    folder = sealed.folder
    path, content = next((path, body) for path, body in sealed.targets().items() if path.endswith(".whl"))
    right = {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert ask(folder, {path: right, "no-such-project/file": None}) == (0, "")
    code, said = ask(folder, {path: {**right, "length": 1}})
    assert code == 1 and path in said
    code, said = ask(folder, {path: None})
    assert code == 1 and path in said
    code, said = ask(folder, {}, now=LONG_AFTER)
    assert code == 1 and "ExpiredMetadataError" in said
    code, said = ask(folder, {}, flags=("-I", "-S"))
    assert code == 3 and "tuf" in said
    code, said = ask(folder, {}, now="no time")
    assert code == 2 and "ValueError" in said


def test_it_refuses_metadata_that_was_altered(sealed: Sealed) -> None:
    snapshot = newest(sealed, "snapshot")
    snapshot.write_bytes(snapshot.read_bytes().replace(b'"version":1}', b'"version":9}', 1))
    code, said = ask(sealed.folder, {})
    assert (code, said.split(":")[0]) == (1, "LengthOrHashMismatchError")
