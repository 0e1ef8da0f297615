"""`wheelseal serve` asked by others, and deltas by another implementation of zstd: the package zstandard."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard
from helpers import pip
from helpers.sealed import Sealed, download_everything
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal, clean_environment

MAGIC = bytes.fromhex("5e2a4d1820000000")


def dictionary_field(body: bytes) -> str:
    """A digest as RFC 9842 writes it."""
    return f":{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def raw_dictionary(body: bytes) -> zstandard.ZstdCompressionDict:
    """Bytes as they are, used as a dictionary."""
    return zstandard.ZstdCompressionDict(body, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def make_delta(new: bytes, old: bytes) -> bytes:
    """`new` as a change of `old`."""
    level = zstandard.ZstdCompressionParameters.from_level(3, window_log=23, write_checksum=True)
    frame = zstandard.ZstdCompressor(dict_data=raw_dictionary(old), compression_params=level).compress(new)
    return MAGIC + hashlib.sha256(old).digest() + frame


def read_delta(body: bytes, old: bytes) -> bytes:
    """What a change comes to."""
    assert body[:8] == MAGIC
    assert body[8:40] == hashlib.sha256(old).digest()
    return zstandard.ZstdDecompressor(dict_data=raw_dictionary(old)).decompress(body[40:])


@pytest.fixture
def sealed(wheelseal: Wheelseal, tmp_path: Path) -> Sealed:
    """A repository with two publications."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init(bins=64)
    for version in ("1.0", "1.1"):
        sealed.run("add", wheel(tmp_path / "dists", "seal", version))
    return sealed


@pytest.fixture
def url(binary: Path, sealed: Sealed) -> Iterator[str]:
    """The address of that repository, served."""
    command = [str(binary), "serve", "--repo", str(sealed.folder), "--listen", "127.0.0.1:0"]
    env = {**clean_environment(), "XDG_STATE_HOME": str(sealed.folder.parent / "state")}
    server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip().rstrip("/")
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (0, "", ""), "not a word about anyone who asked"


def ask(url: str, **fields: str) -> tuple[dict[str, str], bytes]:
    """GET, with header fields; what came, in the coding it came in."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}, answer.read()


@pytest.mark.parametrize("id", ["", '"2"'])
def test_another_zstd_reads_what_changed(sealed: Sealed, url: str, id: str) -> None:
    old, new = ((sealed.folder / f"metadata/{n}.snapshot.json").read_bytes() for n in (2, 3))
    fields = {"Accept_Encoding": "gzip, br, zstd, dcb, dcz", "Available_Dictionary": dictionary_field(old)}
    if id:
        fields["Dictionary_ID"] = id
    headers, body = ask(f"{url}/metadata/3.snapshot.json", **fields)
    assert headers["content-encoding"] == "dcz"
    assert {"accept-encoding", "available-dictionary"} <= set(headers["vary"].lower().split(", "))
    assert headers["use-as-dictionary"] == 'match="/metadata/*.snapshot.json", id="3"'
    assert read_delta(body, old) == new
    assert len(body) < 400 < len(zstandard.compress(new, 19))


def test_others_read_what_is_compressed(sealed: Sealed, url: str) -> None:
    plain = (sealed.folder / "metadata/3.snapshot.json").read_bytes()
    for coding, decode in (("gzip", gzip.decompress), ("zstd", zstandard.decompress)):
        headers, body = ask(f"{url}/metadata/3.snapshot.json", Accept_Encoding=coding)
        assert headers["content-encoding"] == coding
        assert decode(body) == plain
        page, body = ask(f"{url}/simple/seal/", Accept_Encoding=coding, Accept="application/vnd.pypi.simple.v1+json")
        assert page["content-type"] == "application/vnd.pypi.simple.v1+json"
        assert json.loads(decode(body))["name"] == "seal"


def test_others_read_the_siblings_in_the_store(sealed: Sealed) -> None:
    sealed.run("compress")
    folder = sealed.folder / "metadata"
    for ending, decode in ((".gz", gzip.decompress), (".zst", zstandard.decompress)):
        siblings = list(folder.glob(f"*{ending}"))
        assert len(siblings) == 64 + 6
        for sibling in siblings:
            assert decode(sibling.read_bytes()) == (folder / sibling.name.removesuffix(ending)).read_bytes()
    sealed.run("check")


def test_python_tuf_downloads_everything(sealed: Sealed, url: str, tmp_path: Path) -> None:
    assert download_everything(url, sealed, tmp_path / "cache") == 5
    sealed.run("add", wheel(tmp_path / "dists", "walrus", "1.0"))
    assert download_everything(url, sealed, tmp_path / "cache") == 8


def test_pip_installs(url: str, tmp_path: Path) -> None:
    assert pip.install(url, tmp_path / "site", "seal") == {"seal": "1.1"}
    assert pip.install(url, tmp_path / "again", "Seal==1.0") == {"seal": "1.0"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the program curl is not installed")
def test_curl_resumes_revalidates_and_decompresses(sealed: Sealed, url: str, tmp_path: Path) -> None:
    def curl(*args: object) -> str:
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", *map(str, args)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    name = "seal-1.1-py3-none-any.whl"
    wheel_bytes = (sealed.folder / "targets/seal" / name).read_bytes()
    part = tmp_path / name
    part.write_bytes(wheel_bytes[:100])
    curl("--continue-at", "-", "--output", part, f"{url}/targets/seal/{name}")
    assert part.read_bytes() == wheel_bytes
    tags, again = tmp_path / "tags", tmp_path / "timestamp.json"
    code = ["--write-out", "%{http_code}", "--etag-save", tags, "--etag-compare", tags, "--output", again]
    assert curl(*code, f"{url}/metadata/timestamp.json") == "200"
    assert curl(*code, f"{url}/metadata/timestamp.json") == "304"
    snapshot = curl("--compressed", f"{url}/metadata/3.snapshot.json")
    assert snapshot.encode() == (sealed.folder / "metadata/3.snapshot.json").read_bytes()


class Deltas:
    """A server of a folder that sends what changed, made by zstandard, to whoever offers a file that the folder has."""

    def __init__(self, base: Path) -> None:
        self.sent: list[tuple[str, str]] = []
        sent = self.sent

        class Handler(BaseHTTPRequestHandler):
            """GET alone."""

            def do_GET(self) -> None:
                path = base / self.path[1:]
                if not path.is_file():
                    self.send_error(404)
                    return
                body, coding = path.read_bytes(), "identity"
                offered = self.headers.get("Available-Dictionary")
                if offered and "dcz" in self.headers["Accept-Encoding"]:
                    held = [f.read_bytes() for f in path.parent.glob("*.json") if f != path]
                    held = [old for old in held if dictionary_field(old) == offered]
                    if held:
                        body, coding = make_delta(body, held[0]), "dcz"
                sent.append((re.sub(r"^[0-9]+\.", "N.", path.name), coding))
                self.send_response(200)
                self.send_header("Content-Encoding", coding)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def test_wheelseal_reads_what_another_zstd_made(wheelseal: Wheelseal, sealed: Sealed, tmp_path: Path) -> None:
    deltas = Deltas(sealed.folder)
    try:
        wheelseal("trust", "add", "it", deltas.url, "--root", sealed.first_root)
        wheelseal("download", "--to", tmp_path / "a", "seal==1.1")
        assert {coding for _, coding in deltas.sent} == {"identity"}
        deltas.sent.clear()
        sealed.run("add", wheel(tmp_path / "dists", "seal", "1.2"))
        wheelseal("download", "--to", tmp_path / "a", "seal==1.2")
        assert ("N.snapshot.json", "dcz") in deltas.sent
        changed = [name for name, coding in deltas.sent if coding == "dcz"]
        assert any(name.startswith("N.bins-") for name in changed), deltas.sent
    finally:
        deltas.server.shutdown()
        deltas.server.server_close()


def test_what_is_not_there_is_404(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{url}/metadata/2.root.json")
    assert (refused.value.code, refused.value.headers["Cache-Control"]) == (404, "no-store")
