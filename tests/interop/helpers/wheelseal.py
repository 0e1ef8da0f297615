"""Runs the binary under test, as a person or a script would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = Path(__file__).resolve().parents[3] / "keys-example"


def clean_environment() -> dict[str, str]:
    """The environment without proxies, and without settings of pip or wheelseal that would leak into a test."""
    dropped = ("PIP_", "WHEELSEAL_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Wheelseal:
    """The binary, with a configuration and state of its own."""

    binary: Path
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        *args: object,
        env: dict[str, str] | None = None,
        at: str | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """Runs a command. `at` shifts its clock, as in "+8d"; that needs faketime."""
        xdg = {"XDG_CONFIG_HOME": str(self.home / "config"), "XDG_STATE_HOME": str(self.home / "state")}
        command = [str(self.binary), *map(str, args)]
        if at is not None:
            faketime = shutil.which("faketime")
            assert faketime, "the test must ask for the fixture `clock`"
            command = [faketime, "-f", at, *command]
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**clean_environment(), **xdg, **self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def __call__(self, *args: object, code: int = 0, **options: Any) -> str:
        """Runs a command that must end with `code`; its stdout."""
        done = self.run(*args, **options)
        said = f"{' '.join(map(str, args))}\nexit code {done.code}, expected {code}\n{done.out}{done.err}"
        assert done.code == code, said
        return done.out

    def json(self, *args: object, **options: Any) -> Any:
        """Runs a command with --json; what it says."""
        return json.loads(self(*args, "--json", **options))


def key(name: str) -> Path:
    """One of the worthless example keys."""
    return KEYS / f"worthless-{name}.pem"
