"""Builds the object store of `make test-cloud`: fake-gcs-server, as a Go module.

    python tests/cloud/install.py --output=build/cloud

If it cannot be built, the reason is printed, and its tests are skipped with that reason.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.runners.install import go_install

_MODULE = "github.com/fsouza/fake-gcs-server"
_VERSION = "1.56.1"
FOUND_FILE = "found.json"


def install_fake_gcs_server(output: Path) -> dict[str, str]:
    """Builds it; returns `path` and `version`, or `missing`."""
    return go_install(_MODULE, version=_VERSION, output=output)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/cloud"))
    output = parser.parse_args(arguments).output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    print(f"fake-gcs-server {_VERSION}: building it takes minutes the first time ...", flush=True)
    found = install_fake_gcs_server(output)
    print(f"fake-gcs-server: {found.get('path') or 'not available: ' + found['missing']}")
    (output / FOUND_FILE).write_text(json.dumps({"fake-gcs-server": found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
