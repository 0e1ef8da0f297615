"""W5 by python-tuf: signs every bin anew with a later expiry, then snapshot and timestamp.

resign.py METADATA_FOLDER BINS prefixes|succinct KEY.pem
"""

from __future__ import annotations

import sys

from common import EXPIRES, Folder, Layout, open_key


def main() -> None:
    out, bins, style, pem = sys.argv[1:]
    layout, signer, folder = Layout(int(bins), style), open_key(pem), Folder(out)
    timestamp = folder.read("timestamp.json")
    snapshot = folder.read(f"{timestamp.signed.snapshot_meta.version}.snapshot.json")
    for name in layout.names:
        listed = snapshot.signed.meta[f"{name}.json"]
        again = folder.read(f"{listed.version}.{name}.json")
        again.signed.version += 1
        again.signed.expires = EXPIRES
        listed.version = again.signed.version
        folder.write(f"{listed.version}.{name}.json", again, signer)
    for content in (snapshot.signed, timestamp.signed):
        content.version += 1
        content.expires = EXPIRES
    timestamp.signed.snapshot_meta.version = snapshot.signed.version
    folder.write(f"{snapshot.signed.version}.snapshot.json", snapshot, signer)
    folder.replace("timestamp.json", timestamp, signer)


main()
