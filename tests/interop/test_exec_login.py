"""An index that wants a password: pip and uv find it where they always do, and `exec` takes it to that index and nowhere else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tools
from helpers.index import WHEEL, Index
from helpers.tools import Tool
from helpers.wheelseal import Result, Wheelseal, clean_environment

LOGIN = "ann:open sesame"


@pytest.fixture
def index(wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """An index that answers Ann alone."""
    index = Index(wheelseal, tmp_path, login=LOGIN)
    yield index
    index.server.close()


@pytest.fixture(params=["pip", "uv"])
def tool(request: pytest.FixtureRequest, binary: Path) -> Tool:
    """The newest of each."""
    return tools.pip(binary, tools.PIPS[-1]) if request.param == "pip" else tools.uv(binary, tools.UVS[-1])


def install(index: Index, tool: Tool, url: str, env: dict[str, str], *flags: str) -> Result:
    """Into the folder `site`."""
    command = ["install"] if "pip" in tool.command else ["pip", "install"]
    options = ["--target", index.home / "site", "--no-cache-dir", "--index-url", url, *flags, "seal"]
    done = index.wheelseal.run(
        "exec", "--", *tool.command, *command, *options, env={**index.env(tool), **env}
    )
    assert "sesame" not in done.out + done.err
    return done


def test_without_a_password_nothing_is_installed(index: Index, tool: Tool) -> None:
    flags = ["--no-input"] if "pip" in tool.command else []
    done = install(index, tool, f"{index.url}/simple/", {"NETRC": "/nowhere"}, *flags)
    # uv says why; pip says what it always says.
    assert done.code != 0
    assert ("No matching distribution" if flags else "401 Unauthorized") in done.err
    assert not (index.home / "site" / "seal.py").exists()


def test_a_password_in_netrc_opens_the_index(index: Index, tool: Tool) -> None:
    user, password = LOGIN.split(":")
    netrc = index.home / "netrc"
    netrc.write_text(f'machine localhost\nlogin {user}\npassword "{password}"\n')
    netrc.chmod(0o600)
    done = install(index, tool, f"{index.url}/simple/", {"NETRC": str(netrc)})
    assert done.code == 0, done.err
    assert (index.home / "site" / "seal.py").exists()


def test_a_password_in_a_keyring_opens_the_index(index: Index, tool: Tool, binary: Path) -> None:
    programs = tools.environment(binary, "keyring-25.7.0", "keyring==25.7.0", "keyrings.alt==5.0.2")
    user, password = LOGIN.split(":")
    env = {
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "XDG_DATA_HOME": str(index.home / "data"),
        "PATH": f"{programs}:{clean_environment()['PATH']}",
        "PIP_KEYRING_PROVIDER": "subprocess",
        "UV_KEYRING_PROVIDER": "subprocess",
    }
    for service in (f"{index.url}/simple/", index.url.removeprefix("https://")):
        subprocess.run(
            [programs / "keyring", "set", service, user],
            input=password, text=True, check=True, env={**clean_environment(), **env},
        )  # fmt: skip
    done = install(index, tool, f"{index.url.replace('https://', f'https://{user}@')}/simple/", env)
    assert done.code == 0, done.err
    assert (index.home / "site" / "seal.py").exists()


def test_a_swapped_file_behind_a_password_is_refused_too(index: Index, tool: Tool) -> None:
    index.tamper()
    url = f"{index.url.replace('https://', 'https://ann:open%20sesame@')}/simple/"
    done = install(index, tool, url, {})
    assert done.code == 3, done.err
    assert f"wheelseal refused {WHEEL}" in done.err


