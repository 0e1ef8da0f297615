"""`wheelseal serve` that speaks TLS itself."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import pip
from helpers.certificates import localhost
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment


@dataclass
class Served:
    """A server, its files, and the CA of its certificate."""

    process: subprocess.Popen[str]
    url: str
    port: int
    sealed: Sealed
    pem: Path
    ca: Path

    def certificate(self, ca: Path) -> bytes:
        """What it shows to who trusts that CA."""
        context = ssl.create_default_context(cafile=str(ca))
        with socket.create_connection(("localhost", self.port), 10) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as stream:
                assert stream.selected_alpn_protocol() is None
                shown = stream.getpeercert(binary_form=True)
        assert shown
        return shown


@pytest.fixture
def served(binary: Path, wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Served]:
    """See `Served`."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init()
    sealed.run("add", wheel(tmp_path / "dists", "seal", "1.0"))
    _, ca = localhost(tmp_path)
    pem = tmp_path / "server.pem"
    command = [binary, "serve", "--repo", sealed.folder, "--listen", "127.0.0.1:0", "--tls-cert", pem, "--tls-key", pem]
    env = {**clean_environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    process = subprocess.Popen(
        list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("https://127.0.0.1:"), line
    port = int(line.rstrip("/").rpartition(":")[2])
    yield Served(process, f"https://localhost:{port}", port, sealed, pem, ca)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_the_client_and_pip_trust_it_by_its_ca(
    served: Served, wheelseal: Wheelseal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = {"SSL_CERT_FILE": str(served.ca)}
    wheelseal("trust", "add", "index", served.url, "--root", served.sealed.first_root)
    wheelseal("download", "seal", "--to", tmp_path / "to", env=trusted)
    assert list((tmp_path / "to").glob("seal-1.0*.whl"))
    stranger = wheelseal.run("download", "seal", "--to", tmp_path / "no", env={"SSL_CERT_FILE": "/nowhere"})
    assert stranger.code == 7, stranger.err
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.ca))
    chosen = pip.install(served.url, tmp_path / "pip", "seal")
    assert chosen == {"seal": "1.0"}


def test_a_renewed_certificate_needs_no_restart_and_a_bad_one_does_no_harm(served: Served, tmp_path: Path) -> None:
    first = served.certificate(served.ca)
    served.pem.write_text("nothing that is a certificate")
    served.process.send_signal(signal.SIGHUP)
    assert served.process.stderr is not None
    assert "the certificate of before stays" in served.process.stderr.readline()
    assert served.certificate(served.ca) == first
    renewed = tmp_path / "renewed"
    renewed.mkdir()
    _, ca = localhost(renewed)
    shutil.copyfile(renewed / "server.pem", served.pem)
    served.process.send_signal(signal.SIGHUP)
    assert "the certificate was read again" in served.process.stderr.readline()
    assert served.certificate(ca) != first


def test_who_says_nothing_in_the_handshake_keeps_nobody_waiting_and_is_sent_away(served: Served) -> None:
    with socket.create_connection(("localhost", served.port), 10) as silent:
        silent.settimeout(60)
        started = time.monotonic()
        assert served.certificate(served.ca)
        assert time.monotonic() - started < 10
        assert silent.recv(1) == b""


def test_plain_http_gets_no_answer(served: Served) -> None:
    with socket.create_connection(("localhost", served.port), 10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(1_000).startswith(b"HTTP")


def test_files_that_are_no_certificate_and_key_are_named(wheelseal: Wheelseal, tmp_path: Path) -> None:
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init()
    localhost(tmp_path)
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    pem = tmp_path / "server.pem"
    for certificate, key, text in [(empty, pem, "it holds no certificate"), (pem, empty, f"{empty}: ")]:
        refused = wheelseal.run(
            "serve", "--repo", sealed.folder, "--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key
        )
        assert refused.code != 0 and text in refused.err, refused.err
    assert wheelseal.run("serve", "--repo", sealed.folder, "--tls-cert", pem).code == 2
