"""W4 by python-tuf: checks local files against targets metadata that is loaded already.

verify.py TARGETS.tsv FOLDER

The folder holds the files at their target paths. Prints the seconds of the checks alone, CPU and wall.
"""

from __future__ import annotations

import json
import sys
import time

from common import target


def main() -> None:
    tsv, folder = sys.argv[1:]
    with open(tsv, "rb") as file:
        targets = dict(map(target, file))
    wall, cpu = time.perf_counter(), time.process_time()
    for path, expected in targets.items():
        with open(f"{folder}/{path}", "rb") as file:
            expected.verify_length_and_hashes(file)
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


main()
