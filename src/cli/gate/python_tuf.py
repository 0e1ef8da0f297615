# What python-tuf's client finds in metadata/ of a folder, at a given time, against what wheelseal's client found there.
# Exit codes: 0 the same, 1 it refuses or finds something else, 2 it could not be asked, 3 it is not installed.
import datetime
import json
import os
import sys

try:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
    from tuf.ngclient import FetcherInterface, Updater
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)


class Folder(FetcherInterface):
    def __init__(self, folder):
        self.folder = folder

    def _fetch(self, url):
        try:
            with open(os.path.join(self.folder, url.rpartition("/")[2]), "rb") as file:
                return iter([file.read()])
        except FileNotFoundError:
            raise DownloadHTTPError("not there", 404) from None


def refused(reason):
    print(reason, file=sys.stderr)
    sys.exit(1)


def main(folder, now):
    with open(os.path.join(folder, "wanted.json"), encoding="utf-8") as file:
        wanted = json.load(file)
    with open(os.path.join(folder, "root.json"), "rb") as file:
        root = file.read()
    kept = os.path.join(folder, "kept")
    os.mkdir(kept)
    with open(os.path.join(kept, "root.json"), "wb") as file:
        file.write(root)
    where = {"metadata_dir": kept, "metadata_base_url": "folder:///"}
    where["fetcher"] = Folder(os.path.join(folder, "metadata"))
    try:
        updater = Updater(**where, bootstrap=root)
    except TypeError:  # Before version 6 it starts from the root in its folder.
        updater = Updater(**where)
    updater._trusted_set.reference_time = datetime.datetime.fromisoformat(now)
    updater.refresh()
    for path, expected in wanted.items():
        found = updater.get_targetinfo(path)
        seen = found and {"length": found.length, "sha256": found.hashes.get("sha256")}
        if seen != expected:
            refused(f"it finds {seen} for {path}, and not {expected}")


try:
    main(*sys.argv[1:])
except (RepositoryError, DownloadError) as error:
    refused(f"{type(error).__name__}: {error}")
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
