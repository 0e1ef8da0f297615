"""What python-tuf's side of each benchmark shares: a key, hashed bins, files written the fastest way."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    SuccinctRoles,
    TargetFile,
)

EXPIRES = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
HASH_BITS = 32


def open_key(path: str) -> CryptoSigner:
    """A private key without a passphrase."""
    return CryptoSigner(load_pem_private_key(Path(path).read_bytes(), None))


class Layout:
    """A power of two of hashed bins, delegated to in PEP 458's way (`prefixes`) or TAP 15's (`succinct`)."""

    def __init__(self, count: int, style: str) -> None:
        self.style = style
        self.bits = count.bit_length() - 1
        digits = len(f"{count - 1:x}")
        self.digits = digits
        self.prefixes = 16**digits // count
        numbers = range(count)
        if style == "succinct":
            self.names = [f"bins-{number:0{digits}x}" for number in numbers]
        else:
            ends = [(number * self.prefixes, (number + 1) * self.prefixes - 1) for number in numbers]
            self.names = [f"{first:0{digits}x}-{last:0{digits}x}" for first, last in ends]

    def index(self, path: bytes) -> int:
        """The bin that answers for a path."""
        head = hashlib.sha256(path).digest()[: HASH_BITS // 8]
        return int.from_bytes(head, "big") >> (HASH_BITS - self.bits)

    def delegations(self, key: SSlibKey) -> Delegations:
        """All bins, signed by one key."""
        keys, ids = {key.keyid: key}, [key.keyid]
        if self.style == "succinct":
            return Delegations(keys, succinct_roles=SuccinctRoles(ids, 1, self.bits, "bins"))
        roles = {}
        for number, name in enumerate(self.names):
            first = number * self.prefixes
            matched = [f"{prefix:0{self.digits}x}" for prefix in range(first, first + self.prefixes)]
            roles[name] = DelegatedRole(name, ids, 1, True, path_hash_prefixes=matched)
        return Delegations(keys, roles=roles)


def target(line: bytes) -> tuple[str, TargetFile]:
    """One line of the list: path, length, SHA-256."""
    path, length, sha256 = line.decode().rstrip("\n").split("\t")[:3]
    return path, TargetFile(int(length), {"sha256": sha256}, path)


class Folder:
    """Metadata files. Written without fsync, which is the fastest that python-tuf can be."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, exist_ok=True)

    def read(self, name: str) -> Metadata:
        """A file, not verified."""
        with open(f"{self.folder}/{name}", "rb") as file:
            return Metadata.from_bytes(file.read())

    def write(self, name: str, metadata: Metadata, signer: CryptoSigner) -> None:
        """Signs and writes a new file."""
        metadata.sign(signer)
        with open(f"{self.folder}/{name}", "wb") as file:
            file.write(metadata.to_bytes())

    def replace(self, name: str, metadata: Metadata, signer: CryptoSigner) -> None:
        """Signs and writes a file in place of the old one."""
        self.write(f"{name}.new", metadata, signer)
        os.replace(f"{self.folder}/{name}.new", f"{self.folder}/{name}")
