"""A repository of claimed projects, as if their maintainers had claimed them one by one; they have released nothing.

claimed.py REPOSITORY CLAIMED RECENT OFFLINE.pem ONLINE.pem

REPOSITORY is fresh from `wheelseal init --claims`. CLAIMED projects go below `claimed`, RECENT others below
`recently-claimed`, each with an Ed25519 key of its own, in buckets cut as docs/formats.md says. Prints how many buckets
there are, and their bytes, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any, Iterator

from common import open_key
from securesystemslib.signer import CryptoSigner

# Bytes of a bucket's signed part, at most, and without keys and roles.
MOST, FRAME = 295_000, 200
# How names begin, and how many of a thousand begin so.
BEGINNINGS = {
    "py": 60, "django-": 35, "odoo-addon-": 15, "flask-": 15, "ai-": 12, "aws-": 10, "mkdocs-": 8, "pytest-": 18,
    "airflow-provider-": 6, "azure-mgmt-": 4, "collective-": 6, "open": 12, "data-": 12, "ml": 12, "simple-": 10,
    "types-": 5, "": 760,
}  # fmt: skip
SYLLABLES = (
    "a ab al an ar ba ca co da de di do e en er fa fi ge ha in ja ka la lo ma me mo na o on pa po ra re sa se ta "
    "to ve x"
).split()
RANDOM = random.Random(458)
EXPIRES = "2099-01-01T00:00:00Z"

Json = dict[str, Any]
Project = tuple[str, str, Json]
Bucket = tuple[list[str], list[Project]]


def names() -> Iterator[str]:
    """Names that look like those of an index, none twice."""
    beginnings, shares = list(BEGINNINGS), list(BEGINNINGS.values())
    for number in range(10**7):
        syllables = (RANDOM.choice(SYLLABLES) for _ in range(RANDOM.randint(3, 5)))
        yield f"{RANDOM.choices(beginnings, shares)[0]}{''.join(syllables)}{number:x}"


def canonical(value: object) -> bytes:
    """Canonical JSON of what is plain ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def project(name: str) -> Project:
    """A project and its key."""
    key = {"keytype": "ed25519", "keyval": {"public": RANDOM.randbytes(32).hex()}, "scheme": "ed25519"}
    return name, hashlib.sha256(canonical(key)).hexdigest(), key


def delegation(name: str, keyid: str) -> Json:
    """A bucket's delegation to a project."""
    paths = [f"{name}/*", f"simple/{name}/*"]
    return {
        "keyids": [keyid], "name": f"project-{name}", "paths": paths, "terminating": True, "threshold": 1,
    }  # fmt: skip


def weight(one: Project) -> int:
    """Bytes of a project in its bucket. Keys are of one length here."""
    return 377 + 3 * len(one[0])


def size(projects: list[Project]) -> int:
    """Bytes of a bucket's signed part."""
    return FRAME + sum(map(weight, projects))


def halves(bucket: Bucket) -> list[Bucket]:
    """Two buckets that share what is in this one."""
    prefixes, projects = bucket
    one, deeper = len(prefixes) < 2, len(prefixes[0]) + (len(prefixes) < 2)
    groups: dict[str, list[Project]] = {}
    for each in projects:
        groups.setdefault(each[0][:deeper], []).append(each)
    stay = groups.pop(prefixes[0], []) if one else []
    largest = sorted(groups.items(), key=lambda group: -size(group[1]))
    sums = [size([each for _, group in largest[: at + 1] for each in group]) for at in range(len(largest))]
    cut = min(range(len(sums)), key=lambda at: abs(sums[at] - size(projects) // 2)) + 1
    first, rest = largest[:cut], largest[cut:]
    second = prefixes if one else [prefix for prefix, _ in rest]
    shares = [each for _, group in rest for each in group] + stay
    both = [([prefix for prefix, _ in first], [each for _, group in first for each in group]), (second, shares)]
    return [bucket for bucket in both if bucket[1] or "" in bucket[0]]


def buckets(projects: list[Project]) -> list[Bucket]:
    """All of them, longer prefixes first."""
    pending, done = [([""], projects)], []
    while pending:
        bucket = pending.pop()
        if size(bucket[1]) > MOST:
            pending.extend(halves(bucket))
        else:
            done.append(bucket)
    return sorted(done, key=lambda bucket: -len(bucket[0][0]))


class Repository:
    """The metadata that is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "metadata"
        self.timestamp = self.read("timestamp.json")
        version = self.timestamp["meta"]["snapshot.json"]["version"]
        self.snapshot = self.read(f"{version}.snapshot.json")

    def read(self, name: str) -> Json:
        """What is signed of a file."""
        return json.loads((self.folder / name).read_bytes())["signed"]

    def write(self, name: str, signed: Json, signer: CryptoSigner, plain: bool = False) -> Json:
        """Signs and writes a role. Returns its entry."""
        payload = canonical(signed)
        signature = signer.sign(payload).signature
        signatures = [{"keyid": signer.public_key.keyid, "sig": signature}]
        file = b'{"signatures":' + canonical(signatures) + b',"signed":' + payload + b"}"
        path = name if plain else f"{signed['version']}.{name}"
        (self.folder / path).write_bytes(file)
        hashes = {"sha256": hashlib.sha256(file).hexdigest()}
        return {"hashes": hashes, "length": len(file), "version": signed["version"]}

    def delegate(self, family: str, projects: list[Project], signer: CryptoSigner) -> tuple[int, int]:
        """Writes a delegator and its buckets. Returns how many there are, and their bytes."""
        meta = self.snapshot["meta"]
        delegator = self.read(f"{meta[f'{family}.json']['version']}.{family}.json")
        key = {"keytype": "ed25519", "keyval": {"public": signer.public_key.keyval["public"]}, "scheme": "ed25519"}
        keyid, roles, total = hashlib.sha256(canonical(key)).hexdigest(), [], 0
        signer.public_key.keyid = keyid
        for number, (prefixes, members) in enumerate(buckets(projects)):
            name = f"{family}-{number:04x}"
            paths = [path for prefix in sorted(prefixes) for path in (f"{prefix}*/*", f"simple/{prefix}*/*")]
            roles.append(
                {"keyids": [keyid], "name": name, "paths": paths, "terminating": False, "threshold": 1}
            )
            members.sort()
            delegations = {
                "keys": {keyid: key for _, keyid, key in members},
                "roles": [delegation(project, keyid) for project, keyid, _ in members],
            }
            entry = self.write(f"{name}.json", targets(1, delegations), signer)
            meta[f"{name}.json"] = entry
            meta.update((f"project-{project}.json", {"version": 1}) for project, _, _ in members)
            total += entry["length"]
        changed = targets(delegator["version"] + 1, {"keys": {keyid: key}, "roles": roles})
        meta[f"{family}.json"] = self.write(f"{family}.json", changed, signer)
        return len(roles), total

    def commit(self, signer: CryptoSigner) -> None:
        """Snapshot and timestamp, as the next versions."""
        self.snapshot["version"] += 1
        self.timestamp["version"] += 1
        entry = self.write("snapshot.json", self.snapshot, signer)
        self.timestamp["meta"]["snapshot.json"] = entry
        self.write("timestamp.json", self.timestamp, signer, plain=True)


def targets(version: int, delegations: Json) -> Json:
    """A role that delegates."""
    return {
        "_type": "targets", "delegations": delegations, "expires": EXPIRES, "spec_version": "1.0.34",
        "targets": {}, "version": version,
    }  # fmt: skip


def main() -> None:
    repository = Repository(Path(sys.argv[1]))
    claimed, recent = int(sys.argv[2]), int(sys.argv[3])
    offline, online = open_key(sys.argv[4]), open_key(sys.argv[5])
    some = names()
    made = [project(next(some)) for _ in range(claimed + recent)]
    families = {"claimed": (made[:claimed], offline), "recently-claimed": (made[claimed:], online)}
    sizes = {name: repository.delegate(name, projects, key) for name, (projects, key) in families.items()}
    repository.commit(online)
    names_of = {name: {"buckets": count, "bytes": total} for name, (count, total) in sizes.items()}
    print(json.dumps(names_of))


main()
