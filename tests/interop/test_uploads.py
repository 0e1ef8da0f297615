"""twine and uv publish to `wheelseal serve`, unmodified."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment, key

TOOLS = Path(sys.executable).parent
PUBLIC = "https://packages.example/"


@dataclass
class Index:
    """A server that takes uploads of `seal`."""

    url: str
    token: str
    sealed: Sealed


@pytest.fixture
def index(binary: Path, wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """See `Index`."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(bins=4)
    tokens = tmp_path / "tokens.json"
    token = wheelseal("token", "create", "--tokens", tokens, "--project", "seal").strip()
    wheelseal("claims", "enable", "--repo", sealed.folder, "--key", key("targets-1"), "--key", key("online"))
    command = [binary, "serve", "--repo", sealed.folder, "--listen", "127.0.0.1:0", "--tokens", tokens]
    command += ["--key", key("online"), "--public-url", PUBLIC]
    env = {**clean_environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    server = subprocess.Popen(
        list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    yield Index(server.stdout.readline().strip() + "legacy/", token, sealed)
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out) == (0, ""), err


def twine(
    index: Index, *files: Path, token: str | None = None, more: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """`twine upload`."""
    env = {**clean_environment(), "TWINE_USERNAME": "__token__", "TWINE_PASSWORD": token or index.token}
    command = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    command += ["--repository-url", index.url, *more, *map(str, files)]
    env["COLUMNS"] = "400"
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def uv(index: Index, *files: Path) -> subprocess.CompletedProcess[str]:
    """`uv publish`."""
    env = {name: value for name, value in clean_environment().items() if not name.startswith("UV_")}
    command = [str(TOOLS / "uv"), "publish", "--publish-url", index.url, "--token", index.token]
    return subprocess.run([*command, *map(str, files)], env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("tool", [twine, uv])
def test_a_wheel_is_published_and_verifies(index: Index, wheelseal: Wheelseal, tmp_path: Path, tool) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    done = tool(index, dist)
    assert done.returncode == 0, done.stdout + done.stderr
    wheelseal("trust", "add", "index", index.sealed.folder, "--root", index.sealed.first_root)
    assert "is what was signed" in wheelseal("verify", dist)
    # Once more is no error: an answer may have been lost.
    assert tool(index, dist).returncode == 0


@pytest.mark.parametrize("tool", [twine, uv])
def test_the_reason_of_a_refusal_is_on_the_screen(index: Index, tmp_path: Path, tool) -> None:
    refused = tool(index, wheel(tmp_path / "dists", "wax", "1.0"))
    assert refused.returncode != 0
    assert "this token is not for wax" in refused.stdout + refused.stderr


def test_other_content_under_a_published_name_is_refused(index: Index, tmp_path: Path) -> None:
    assert twine(index, wheel(tmp_path / "dists", "seal", "1.0")).returncode == 0
    other = wheel(tmp_path / "other", "seal", "1.0", text="evil")
    refused = twine(index, other)
    assert refused.returncode != 0
    assert "is published already with SHA-256" in refused.stdout + refused.stderr


def test_twine_is_told_that_a_token_is_worth_nothing(index: Index, tmp_path: Path) -> None:
    refused = twine(index, wheel(tmp_path / "dists", "seal", "1.0"), token="wheelseal-1-2")
    assert refused.returncode != 0
    assert "an upload needs a token" in refused.stdout + refused.stderr


@pytest.fixture
def claimed(index: Index, wheelseal: Wheelseal, tmp_path: Path) -> Index:
    """`seal` belongs to a maintainer whose key the index does not have."""
    wheelseal("trust", "add", "index", index.sealed.folder, "--root", index.sealed.first_root)
    claim = tmp_path / "seal.claim.json"
    wheelseal("project", "claim", "seal", "--key", key("root-2"), "--out", claim)
    wheelseal("claims", "apply", "--repo", index.sealed.folder, "--key", key("online"), claim)
    return index


@pytest.mark.parametrize("tool", [twine, uv])
def test_an_upload_of_a_claimed_project_waits_for_its_maintainer(
    claimed: Index, wheelseal: Wheelseal, tmp_path: Path, tool
) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    done = tool(claimed, dist)
    assert done.returncode == 0, done.stdout + done.stderr
    assert dist.name in wheelseal("claims", "staged", "--repo", claimed.sealed.folder)
    refused = wheelseal.run("verify", dist)
    assert refused.code != 0, "it is not signed yet"

    folder = tmp_path / "release"
    wheelseal("project", "release", "seal", dist, "--key", key("root-2"), "--out", folder)
    (folder / dist.name).unlink()
    token = tmp_path / "token"
    token.write_text(claimed.token)
    said = wheelseal("project", "send", folder, "--to", claimed.url, "--token-file", token)
    assert f"added {dist.name}" in said
    assert "is what was signed" in wheelseal("verify", dist)
    assert dist.name not in wheelseal("claims", "staged", "--repo", claimed.sealed.folder)


def test_a_release_is_signed_and_uploaded_in_one_step(
    claimed: Index, wheelseal: Wheelseal, tmp_path: Path
) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    token = tmp_path / "token"
    token.write_text(claimed.token + "\n")
    command = ["project", "release", "seal", dist, "--key", key("root-2"), "--upload", claimed.url]
    said = wheelseal(*command, "--token-file", token, cwd=tmp_path)
    assert f"added {dist.name}" in said
    assert not (tmp_path / "seal.release").exists()
    assert "is what was signed" in wheelseal("verify", dist)

    token.write_text("wheelseal-1-2")
    other = wheel(tmp_path / "dists", "seal", "2.0")
    refused = wheelseal.run(*command[:3], other, *command[4:], "--token-file", token, cwd=tmp_path)
    assert refused.code == 9
    assert "an upload needs a token" in refused.err
    assert (tmp_path / "seal.release" / other.name).exists(), "what was signed is lost"


def test_a_token_is_not_sent_where_anybody_can_read_it(
    claimed: Index, wheelseal: Wheelseal, tmp_path: Path
) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    folder = tmp_path / "release"
    wheelseal("project", "release", "seal", dist, "--key", key("root-2"), "--out", folder)
    token = tmp_path / "token"
    token.write_text(claimed.token)
    refused = wheelseal.run("project", "send", folder, "--to", "http://index.example/", "--token-file", token)
    assert refused.code == 2
    assert "is neither https nor on this machine" in refused.err
    assert claimed.token not in refused.err


def attest(dist: Path, digest: str | None = None) -> dict[str, object]:
    """Writes an attestation beside a file, as signers do; nobody signed it."""
    digest = digest or hashlib.sha256(dist.read_bytes()).hexdigest()
    predicate = "https://docs." + "pypi" + ".org/attestations/publish/v1"
    subject = [{"name": dist.name, "digest": {"sha256": digest}}]
    kind = "https://in-toto.io/Statement/v1"
    statement = {"_type": kind, "subject": subject, "predicateType": predicate, "predicate": None}
    encoded = base64.b64encode(json.dumps(statement).encode()).decode()
    made = {
        "version": 1,
        "verification_material": {"certificate": "MIIC", "transparency_entries": [{"logIndex": "1"}]},
        "envelope": {"statement": encoded, "signature": "MEUC"},
    }
    Path(f"{dist}.publish.attestation").write_text(json.dumps(made))
    return made


def twine_attested(index: Index, dist: Path) -> subprocess.CompletedProcess[str]:
    """`twine upload --attestations`."""
    return twine(index, dist, Path(f"{dist}.publish.attestation"), more=("--attestations",))


def uv_attested(index: Index, dist: Path) -> subprocess.CompletedProcess[str]:
    """`uv publish` of both files, as `dist/*` names them."""
    return uv(index, dist, Path(f"{dist}.publish.attestation"))


@pytest.mark.parametrize("tool", [twine_attested, uv_attested])
def test_attestations_are_kept_and_named_on_the_page(
    index: Index, wheelseal: Wheelseal, tmp_path: Path, tool
) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    made = attest(dist)
    done = tool(index, dist)
    assert done.returncode == 0, done.stdout + done.stderr
    base = index.url.removesuffix("legacy/")
    request = urllib.request.Request(f"{base}simple/seal/")
    request.add_header("Accept", "application/vnd.pypi.simple.v1+json")
    with urllib.request.urlopen(request) as answer:
        (file,) = json.load(answer)["files"]
    assert file["provenance"] == f"{PUBLIC}targets/seal/{dist.name}.provenance"
    with urllib.request.urlopen(base + file["provenance"].removeprefix(PUBLIC)) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        provenance = json.load(answer)
    publisher = {"kind": "wheelseal", "claims": {}}
    bundle = {"publisher": publisher, "attestations": [made]}
    assert provenance == {"version": 1, "attestation_bundles": [bundle]}
    wheelseal("check", "--repo", index.sealed.folder)


@pytest.mark.parametrize("tool", [twine_attested, uv_attested])
def test_an_attestation_of_another_file_refuses_the_upload(index: Index, tmp_path: Path, tool) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    attest(dist, digest="0" * 64)
    refused = tool(index, dist)
    assert refused.returncode != 0
    assert "the SHA-256 of the subject is" in refused.stdout + refused.stderr


def test_a_release_carries_attestations_to_the_index(
    claimed: Index, wheelseal: Wheelseal, tmp_path: Path
) -> None:
    dist = wheel(tmp_path / "dists", "seal", "1.0")
    attest(dist)
    token = tmp_path / "token"
    token.write_text(claimed.token + "\n")
    command = ["project", "release", "seal", dist, "--attestations", "--key", key("root-2")]
    said = wheelseal(*command, "--upload", claimed.url, "--token-file", token, cwd=tmp_path)
    assert f"added {dist.name}" in said
    target = claimed.sealed.folder / "targets" / "seal" / f"{dist.name}.provenance"
    assert json.loads(target.read_text())["version"] == 1
    wheelseal("check", "--repo", claimed.sealed.folder)
