"""Poetry, unmodified, under `wheelseal exec`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tools
from helpers.index import WHEEL, Index, refused
from helpers.tools import Tool
from helpers.wheelseal import Wheelseal

POETRY = "2.5.1"
PROJECT = """
[project]
name = "thing"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["seal"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "mine"
url = "{url}/simple/"
priority = "primary"
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 10), reason=f"Poetry {POETRY} needs Python 3.10")


@pytest.fixture
def index(wheelseal: Wheelseal, tmp_path: Path) -> Iterator[Index]:
    """An index, and a project of Poetry that needs something of it."""
    index = Index(wheelseal, tmp_path)
    project = index.home / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT.format(url=index.url))
    yield index
    index.server.close()


@pytest.fixture
def poetry(binary: Path, tmp_path: Path) -> Tool:
    """Poetry, with a cache of its own."""
    programs = tools.environment(binary, f"poetry-{POETRY}", f"poetry=={POETRY}")
    env = {"POETRY_CACHE_DIR": str(tmp_path / "poetry"), "POETRY_VIRTUALENVS_IN_PROJECT": "true"}
    env |= {"POETRY_CONFIG_DIR": str(tmp_path / "config"), "POETRY_KEYRING_ENABLED": "false"}
    env |= {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    return Tool((str(programs / "poetry"), "--no-interaction", "--directory", str(tmp_path / "project")), env)


def test_poetry_locks_and_installs_what_verifies(index: Index, poetry: Tool, wheelseal: Wheelseal) -> None:
    done = index.exec(poetry, "lock")
    assert done.code == 0, done.out + done.err
    done = index.exec(poetry, "install")
    assert done.code == 0, done.out + done.err
    assert list((index.home / "project" / ".venv").rglob("seal-1.1.dist-info"))
    assert not [path for path in index.server.taken() if path.startswith("simple/")], "unsigned pages are not asked for"
    checked = wheelseal.run(
        "verify", "--lock", index.home / "project" / "poetry.lock", env={"SSL_CERT_FILE": str(index.ca)}
    )
    assert checked.code == 0, checked.err


def test_poetry_is_told_why_a_swapped_file_is_refused(index: Index, poetry: Tool) -> None:
    assert index.exec(poetry, "lock").code == 0
    index.tamper()
    done = index.exec(poetry, "install")
    refused(done, 3, f"refused {WHEEL} of mine", "not the file that was signed")
    assert not list((index.home / "project" / ".venv").rglob("seal*"))
