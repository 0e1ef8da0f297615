"""Keys made by openssl and python-tuf load here; keys made here load there."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from helpers.wheelseal import Wheelseal
from securesystemslib.signer import CryptoSigner, SSlibKey

PASSPHRASE = "correct horse battery"
KINDS = {
    "ed25519": ["-algorithm", "ed25519"],
    "ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ecdsa-384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
}
SCHEMES = {
    "ed25519": "ed25519",
    "ecdsa": "ecdsa-sha2-nistp256",
    "ecdsa-384": "ecdsa-sha2-nistp384",
    "rsa": "rsassa-pss-sha256",
}


@pytest.fixture
def openssl() -> str:
    """The program, if it is there."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the program openssl is not installed")
    return program


def run(*args: object) -> str:
    """Runs a program that must succeed; its stdout."""
    return subprocess.run([str(arg) for arg in args], check=True, capture_output=True, text=True).stdout


def in_tuf(public_pem: bytes, scheme: str) -> SSlibKey:
    """The key as python-tuf knows it, with its key id."""
    return SSlibKey.from_crypto(serialization.load_pem_public_key(public_pem), scheme=scheme)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_key_made_by_openssl(
    wheelseal: Wheelseal, tmp_path: Path, openssl: str, kind: str, encrypted: bool
) -> None:
    path = tmp_path / "key.pem"
    cipher = ["-aes-256-cbc", "-pass", f"pass:{PASSPHRASE}"] if encrypted else []
    run(openssl, "genpkey", *KINDS[kind], *cipher, "-out", path)
    path.chmod(0o600)
    public = run(openssl, "pkey", "-in", path, "-passin", f"pass:{PASSPHRASE}", "-pubout").encode()
    expected = in_tuf(public, SCHEMES[kind])
    shown = wheelseal.json("key", "show", path, env={"WHEELSEAL_PASSPHRASE": PASSPHRASE})
    assert (shown["id"], shown["scheme"]) == (expected.keyid, expected.scheme)
    (tmp_path / "key.pub").write_bytes(public)
    assert wheelseal.json("key", "show", f"pub:{tmp_path / 'key.pub'}") == shown


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_made_by_python_tuf(wheelseal: Wheelseal, tmp_path: Path, kind: str) -> None:
    signer = getattr(CryptoSigner, f"generate_{kind}")()
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(signer.private_bytes)
    shown = wheelseal.json("key", "show", path)
    assert (shown["id"], shown["scheme"]) == (signer.public_key.keyid, signer.public_key.scheme)
    exported = wheelseal.json("key", "export", path)
    assert exported == signer.public_key.to_dict()
    from_environment = wheelseal.json("key", "show", "env:KEY", env={"KEY": signer.private_bytes.decode()})
    assert from_environment == shown


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_key_made_here(wheelseal: Wheelseal, tmp_path: Path, kind: str, encrypted: bool) -> None:
    path = tmp_path / "key"
    flags = [] if encrypted else ["--no-passphrase"]
    made = wheelseal.json(
        "key", "gen", path, "--type", kind, *flags, env={"WHEELSEAL_PASSPHRASE": PASSPHRASE}
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    body = path.read_bytes()
    assert (b"ENCRYPTED" in body) == encrypted
    password = PASSPHRASE.encode() if encrypted else None
    private = serialization.load_pem_private_key(body, password)
    assert CryptoSigner(private).public_key.keyid == made["id"]
    public = (tmp_path / "key.pub").read_bytes()
    assert in_tuf(public, made["scheme"]).keyid == made["id"]
    if encrypted:
        with pytest.raises(ValueError):
            serialization.load_pem_private_key(body, b"wrong")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_openssl_opens_an_encrypted_key_made_here(
    wheelseal: Wheelseal, tmp_path: Path, openssl: str, kind: str
) -> None:
    path = tmp_path / "key"
    wheelseal("key", "gen", path, "--type", kind, env={"WHEELSEAL_PASSPHRASE": PASSPHRASE})
    public = run(openssl, "pkey", "-in", path, "-passin", f"pass:{PASSPHRASE}", "-pubout")
    assert public.strip() == (tmp_path / "key.pub").read_text().strip()


def test_a_key_that_others_can_read_is_refused(wheelseal: Wheelseal, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(CryptoSigner.generate_ed25519().private_bytes)
    path.chmod(0o644)
    done = wheelseal.run("key", "show", path)
    assert done.code != 0
    assert "chmod" in done.err or "0600" in done.err


def test_a_wrong_passphrase_is_refused(wheelseal: Wheelseal, tmp_path: Path) -> None:
    path = tmp_path / "key"
    wheelseal("key", "gen", path, env={"WHEELSEAL_PASSPHRASE": PASSPHRASE})
    done = wheelseal.run("key", "show", path, env={"WHEELSEAL_PASSPHRASE": "wrong passphrase"})
    assert done.code == 1
    assert "passphrase" in done.err
