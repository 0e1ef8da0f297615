"""The configuration of nginx in docs/operating.md, run by nginx."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import pip
from helpers.sealed import Sealed
from helpers.wheels import wheel
from helpers.wheelseal import Wheelseal

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operating.md"

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="the program nginx is not installed")


@pytest.fixture
def sealed(wheelseal: Wheelseal, tmp_path: Path) -> Sealed:
    """A repository with compressed siblings."""
    sealed = Sealed(wheelseal, tmp_path / "repo")
    sealed.init()
    sealed.run("add", wheel(tmp_path / "dists", "seal", "1.0"))
    sealed.run("compress", "--with", "gzip")
    return sealed


@pytest.fixture
def url(sealed: Sealed, tmp_path: Path) -> Iterator[str]:
    """The address of that repository, served by nginx as the docs say."""
    block = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block, "docs/operating.md has no configuration of nginx"
    assert "root /srv/repo;" in block[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"{'user root;' if os.getuid() == 0 else ''}\n"
        f"daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {folders}\n"
        f"server {{ listen 127.0.0.1:{port};\n{block[1].replace('/srv/repo', str(sealed.folder))} }} }}\n"
    )
    server = subprocess.Popen(["nginx", "-e", str(tmp_path / "error.log"), "-c", str(configuration)])
    try:
        for _ in range(200):
            assert server.poll() is None, (tmp_path / "error.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_siblings_are_sent_and_clients_content(sealed: Sealed, wheelseal: Wheelseal, url: str, tmp_path: Path) -> None:
    request = urllib.request.Request(f"{url}/metadata/2.snapshot.json", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert body == (sealed.folder / "metadata/2.snapshot.json.gz").read_bytes()
    assert gzip.decompress(body) == (sealed.folder / "metadata/2.snapshot.json").read_bytes()
    wheelseal("trust", "add", "it", url, "--root", sealed.first_root)
    wheelseal("download", "--to", tmp_path / "to", "seal")
    sealed.run("add", wheel(tmp_path / "dists", "seal", "1.1"))
    wheelseal("download", "--to", tmp_path / "to", "seal")
    assert pip.install(url, tmp_path / "site", "seal") == {"seal": "1.1"}


@pytest.mark.parametrize(
    "path", ["wheelseal.toml", "staging/pages/", ".wheelseal.lock", "metadata/9.root.json", "targets/.tmp-x"]
)
def test_what_is_not_for_the_public_is_404(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/{path}", timeout=30)
    assert refused.value.code == 404
