"""Distributions made by hand: small, valid, and with the names nobody publishes but everybody must take."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def _metadata(name: str, version: str, requires_python: str | None, requires: tuple[str, ...] = ()) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {one}" for one in requires]
    return "\n".join(lines) + "\n"


def wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    text: str = "",
    tag: str = "py3-none-any",
    requires: tuple[str, ...] = (),
    more: dict[str, str | bytes] | None = None,
) -> Path:
    """Writes a wheel that pip installs. Its one module says its version, and `text`. In the paths of `more`, INFO and DATA
    are the folders that a wheel has for its notes and for what goes elsewhere. Files of bytes are not compressed."""
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    files: dict[str, str | bytes] = {
        f"{module}.py": f"VERSION = {version!r}\nTEXT = {text!r}\n",
        f"{info}/METADATA": _metadata(name, version, requires_python, requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    for path, content in (more or {}).items():
        files[path.replace("INFO", info).replace("DATA", f"{module}-{version}.data")] = content
    record = ""
    for path, content in files.items():
        written = content if isinstance(content, bytes) else content.encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(written).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(written)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content, zipfile.ZIP_STORED if isinstance(content, bytes) else None)
    return out


def sdist(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Writes a source distribution."""
    top = f"{name.replace('-', '_')}-{version}"
    project = (
        f'[build-system]\nrequires = ["setuptools"]\n[project]\nname = "{name}"\nversion = "{version}"\n'
    )
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{top}.tar.gz"
    with tarfile.open(out, "w:gz") as archive:
        for path, text in {"PKG-INFO": _metadata(name, version, None, requires), "pyproject.toml": project}.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return out
