"""Looks for known faults in the pinned packages, in PyPI's list and else in OSV's.

    python requirements/audit.py --venv=build/audit

Ends with 0 if none is known, 1 if some are, 2 if packages could not be looked up: where no list can
be reached, or a mirror stands in for it that holds packages alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from install import install, make_venv

_HERE = Path(__file__).parent
# All that is pinned but this command's own environment.
_AUDITED = tuple(sorted({path.stem for path in _HERE.glob("*.in")} - {"audit"}))


def audit(python: Path, service: str) -> list[dict] | None:
    """The packages with their known faults; None if the list cannot be reached."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "audit.json"
        files = [part for name in _AUDITED for part in ("-r", str(_HERE / f"{name}.txt"))]
        command = [str(python), "-m", "pip_audit", "--no-deps", "--disable-pip", *files]
        options = ["-s", service, "-f", "json", "-o", str(output), "--progress-spinner=off"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        try:
            return json.loads(output.read_text())["dependencies"]
        except (OSError, LookupError, TypeError, ValueError):  # Not written, or not to its end.
            print(f"{service}: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None


def report(packages: list[dict], *, of: int, service: str) -> int:
    """Prints what is known of the packages that were looked up; returns the exit status."""
    faulty = [package for package in packages if package["vulns"]]
    print(f"{len(packages)} of {of} pinned packages looked up at {service}, {len(faulty)} faulty")
    for package in faulty:
        for fault in package["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    return 1 if faulty else 2 * (len(packages) < of)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    folder = parser.parse_args().venv
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = make_venv(folder)
    install(python, [_HERE / "audit.txt"])
    for service in ("pypi", "osv"):
        packages = audit(python, service)
        if looked_up := [package for package in packages or [] if "skip_reason" not in package]:
            return report(looked_up, of=len(packages or []), service=service)
    print("No list of known faults can be reached here: nothing was looked at.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
