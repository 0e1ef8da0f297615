"""Is a bin that wheelseal signed, byte for byte, what python-tuf would sign for the same targets?

same_bin.py TARGETS.tsv BIN.json BINS NUMBER

Version, expiry and version of the specification are taken from the bin. The canonical form must stand in the file as it
is. Prints whether it does, its bytes, and how many targets it has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common import Layout, target
from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer


def main() -> None:
    tsv, file, bins, number = sys.argv[1:]
    layout, content = Layout(int(bins), "succinct"), Path(file).read_bytes()
    theirs = Metadata[Targets].from_bytes(content).signed
    with open(tsv, "rb") as lines:
        mine = [line for line in lines if layout.index(line[: line.index(b"\t")]) == int(number)]
    head = (theirs.version, theirs.spec_version, theirs.expires)
    signed = Targets(*head, targets=dict(map(target, mine)))
    canonical = CanonicalJSONSerializer().serialize(signed)
    print(json.dumps({"same": canonical in content, "bytes": len(canonical), "targets": len(mine)}))


main()
