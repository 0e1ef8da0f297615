"""W3 by python-tuf: its client, as a program: refresh, find one target, download it.

client.py BASE_URL ROOT.json CACHE TARGET
"""

from __future__ import annotations

import os
import sys

from tuf.ngclient import Updater


def main() -> None:
    base, root, cache, target = sys.argv[1:]
    metadata, targets = os.path.join(cache, "metadata"), os.path.join(cache, "targets")
    os.makedirs(metadata, exist_ok=True)
    os.makedirs(targets, exist_ok=True)
    with open(root, "rb") as file:
        trusted = file.read()
    updater = Updater(metadata, f"{base}/metadata/", targets, f"{base}/targets/", bootstrap=trusted)
    updater.refresh()
    info = updater.get_targetinfo(target)
    assert info is not None
    updater.download_target(info)


main()
