"""W1 by python-tuf: signs every target of a list into bins, one bin in memory at a time.

sign.py TARGETS.tsv METADATA_FOLDER BINS prefixes|succinct KEY.pem
"""

from __future__ import annotations

import sys

from common import EXPIRES, Folder, Layout, open_key, target
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)


def main() -> None:
    tsv, out, bins, style, pem = sys.argv[1:]
    layout, signer, folder = Layout(int(bins), style), open_key(pem), Folder(out)
    key = signer.public_key

    root = Root(expires=EXPIRES, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(key, role)
    folder.write("1.root.json", Metadata(root), signer)

    lines: list[list[bytes]] = [[] for _ in layout.names]
    with open(tsv, "rb") as file:
        for line in file:
            lines[layout.index(line[: line.index(b"\t")])].append(line)
    snapshot = Snapshot(expires=EXPIRES)
    for number, name in enumerate(layout.names):
        content = Targets(expires=EXPIRES, targets=dict(map(target, lines[number])))
        lines[number] = []
        folder.write(f"1.{name}.json", Metadata(content), signer)
        snapshot.meta[f"{name}.json"] = MetaFile(1)

    delegated = Targets(expires=EXPIRES, delegations=layout.delegations(key))
    folder.write("1.bins.json", Metadata(delegated), signer)
    to_bins = DelegatedRole("bins", [key.keyid], 1, False, paths=["packages/*/*/*/*"])
    top = Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, roles={"bins": to_bins}))
    folder.write("1.targets.json", Metadata(top), signer)
    snapshot.meta["bins.json"] = MetaFile(1)
    folder.write("1.snapshot.json", Metadata(snapshot), signer)
    timestamp = Timestamp(expires=EXPIRES, snapshot_meta=MetaFile(1))
    folder.write("timestamp.json", Metadata(timestamp), signer)


main()
