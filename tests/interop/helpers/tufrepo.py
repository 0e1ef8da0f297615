"""A repository made by python-tuf, in memory, that can be broken field by field.

A change has two steps: alter the objects (`root`, `timestamp`, `snapshot`, `roles[...]`), then sign and put out what
changed (`put_root`, `put`, `update`). `files` is what the server serves; a test may lie there at will.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Callable
from urllib.parse import quote, unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
NewKey = Callable[[], CryptoSigner]


def in_days(days: int) -> datetime:
    """A date from now, in whole seconds as TUF writes it."""
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)


class TufRepo:
    """One repository; version 1 of everything is out when it is made."""

    def __init__(
        self,
        *,
        new_key: NewKey = CryptoSigner.generate_ed25519,
        consistent: bool = True,
        hashes: bool = False,
    ) -> None:
        self.new_key = new_key
        self.hashes = hashes
        self.files: dict[str, bytes] = {}
        self.unsigned: set[str] = set()
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.root = Root(expires=in_days(365), consistent_snapshot=consistent)
        for role in TOP_LEVEL:
            self.add_key(role)
        self.roles: dict[str, Targets] = {"targets": Targets(expires=in_days(365))}
        self.snapshot = Snapshot(expires=in_days(30))
        self.timestamp = Timestamp(expires=in_days(10))
        self.put_root()
        self.put("targets")
        self.put_snapshot()
        self.put_timestamp()
        self.first_root = self.files["metadata/1.root.json"]

    def lookup(self, path: str) -> bytes | None:
        """What a server is to answer. Metadata names stay quoted: a role may be named `../x`."""
        return self.files.get(path) or self.files.get(unquote(path))

    # Keys.

    def add_key(self, role: str, signer: CryptoSigner | None = None) -> CryptoSigner:
        """One more key for a top-level role."""
        signer = signer or self.new_key()
        self.root.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def rotate(self, role: str) -> None:
        """One new key instead of all keys of a top-level role; root is not put out yet."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        old = self.signers.pop(role)
        self.add_key(role)
        if role == "root":
            self.signers["root"] += old

    # Targets and delegations.

    def add_target(self, role: str, path: str, content: bytes) -> None:
        """Lists a target in a role and serves its file."""
        file = TargetFile.from_data(path, content, ["sha256"])
        self.roles[role].targets[path] = file
        folder, slash, name = path.rpartition("/")
        if self.root.consistent_snapshot:
            name = f"{hashlib.sha256(content).hexdigest()}.{name}"
        self.files[f"targets/{folder}{slash}{name}"] = content

    def delegate(
        self,
        delegator: str,
        name: str,
        *,
        paths: list[str] | None = None,
        prefixes: list[str] | None = None,
        terminating: bool = False,
    ) -> None:
        """Delegates to a new or known role, which is not put out yet."""
        if paths is None and prefixes is None:
            paths = ["*"]
        role = DelegatedRole(name, [], 1, terminating, paths=paths, path_hash_prefixes=prefixes)
        parent = self.roles[delegator]
        if parent.delegations is None:
            parent.delegations = Delegations({}, roles={})
        parent.delegations.roles[name] = role
        for signer in self._delegated(name):
            parent.add_key(signer.public_key, name)

    def delegate_succinct(self, delegator: str, bits: int, prefix: str) -> list[str]:
        """Delegates to succinct bins (TAP 15), which are not put out yet; their names."""
        signer = self.new_key()
        bins = SuccinctRoles([signer.public_key.keyid], 1, bits, prefix)
        self.roles[delegator].delegations = Delegations(
            {signer.public_key.keyid: signer.public_key}, succinct_roles=bins
        )
        names = list(bins.get_roles())
        for name in names:
            self.signers[name] = [signer]
            self._delegated(name)
        return names

    def _delegated(self, name: str) -> list[CryptoSigner]:
        self.roles.setdefault(name, Targets(expires=in_days(365)))
        return self.signers.setdefault(name, [self.new_key()])

    # Signing and putting out.

    def sign(self, role: str, signed: Signed) -> bytes:
        """A signed file, by all keys of the role, or by none if it is in `unsigned`."""
        metadata = Metadata(signed)
        for signer in [] if role in self.unsigned else self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def put_root(self) -> None:
        """Serves the root as it is now."""
        self._serve("root", self.root, f"{self.root.version}.root.json")

    def new_root(self) -> None:
        """Serves it as the next version."""
        self.root.version += 1
        self.put_root()

    def put(self, role: str) -> None:
        """Serves a targets role as it is now, and notes it in snapshot."""
        signed = self.roles[role]
        body = self._serve(role, signed, f"{signed.version}.{quote(role, '')}.json")
        self.snapshot.meta[f"{role}.json"] = self._meta(signed.version, body)

    def put_snapshot(self) -> None:
        """Serves snapshot as it is now, and notes it in timestamp."""
        body = self._serve("snapshot", self.snapshot, f"{self.snapshot.version}.snapshot.json")
        self.timestamp.snapshot_meta = self._meta(self.snapshot.version, body)

    def put_timestamp(self) -> None:
        """Serves timestamp as it is now."""
        self.files["metadata/timestamp.json"] = self.sign("timestamp", self.timestamp)

    def update(self, *roles: str) -> None:
        """New versions of targets roles (those never put out keep version 1), of snapshot and of timestamp."""
        for role in roles:
            if f"{role}.json" in self.snapshot.meta:
                self.roles[role].version += 1
            self.put(role)
        self.snapshot.version += 1
        self.put_snapshot()
        self.timestamp.version += 1
        self.put_timestamp()

    def _serve(self, role: str, signed: Signed, name: str) -> bytes:
        if role != "root" and not self.root.consistent_snapshot:
            name = name.split(".", 1)[1]
        body = self.sign(role, signed)
        self.files[f"metadata/{name}"] = body
        return body

    def _meta(self, version: int, body: bytes) -> MetaFile:
        if not self.hashes:
            return MetaFile(version)
        return MetaFile(version, len(body), {"sha256": hashlib.sha256(body).hexdigest()})
