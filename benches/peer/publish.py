"""W2 by python-tuf: publishes files one after the other into the repository that sign.py made.

publish.py METADATA_FOLDER BINS prefixes|succinct KEY.pem COUNT

Prints the CPU seconds of each publication. Snapshot and timestamp are read once and kept in memory.
"""

from __future__ import annotations

import json
import sys
import time

from common import EXPIRES, Folder, Layout, open_key
from tuf.api.metadata import TargetFile


def main() -> None:
    out, bins, style, pem, count = sys.argv[1:]
    layout, signer, folder = Layout(int(bins), style), open_key(pem), Folder(out)
    timestamp = folder.read("timestamp.json")
    snapshot = folder.read(f"{timestamp.signed.snapshot_meta.version}.snapshot.json")
    costs = []
    for _ in range(int(count)):
        start = time.process_time()
        path = f"packages/00/11/{snapshot.signed.version:062x}/fresh-1.0-py3-none-any.whl"
        name = layout.names[layout.index(path.encode())]
        listed = snapshot.signed.meta[f"{name}.json"]
        changed = folder.read(f"{listed.version}.{name}.json")
        changed.signed.targets[path] = TargetFile(1_234_567, {"sha256": "5e" * 32}, path)
        for content in (changed.signed, snapshot.signed, timestamp.signed):
            content.version += 1
            content.expires = EXPIRES
        listed.version = changed.signed.version
        timestamp.signed.snapshot_meta.version = snapshot.signed.version
        folder.write(f"{listed.version}.{name}.json", changed, signer)
        folder.write(f"{snapshot.signed.version}.snapshot.json", snapshot, signer)
        folder.replace("timestamp.json", timestamp, signer)
        costs.append(time.process_time() - start)
    print(json.dumps(costs))


main()
