"""Fetches other Beam runners for `make test-runners`: Prism as a Go module, Flink's from Maven.

    python tests/runners/install.py --output=build/runners

Both must be of exactly our Beam's version. What cannot be had is said, and why; its test is then
skipped with the same words.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import FlinkRunnerOptions

_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
FOUND_FILE = "found.json"


def _last_words(done: subprocess.CompletedProcess) -> str:
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    wanted = [line for line in lines if "ould not" in line or "ouldn't" in line] or lines[-1:]
    return wanted[0].strip()[:300] if wanted else f"exit status {done.returncode}"


def install_prism(output: Path, version: str) -> dict[str, str]:
    """Builds Prism; returns `path`, or `missing`."""
    binary = output / "prism"
    if binary.exists():
        return {"path": str(binary)}
    if shutil.which("go") is None:
        return {"missing": "no go command"}
    done = subprocess.run(
        ["go", "install", f"{_PRISM}@v{version}"],
        env={**os.environ, "GOBIN": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )
    return {"path": str(binary)} if binary.exists() else {"missing": _last_words(done)}


def install_flink(output: Path, version: str) -> dict[str, str]:
    """Downloads a Flink job server; returns `path` and `flink_version`, or `missing`."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        return {"missing": "no mvn and java commands"}
    reason = ""
    for flink in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
        name = f"beam-runners-flink-{flink}-job-server"
        jar = output / f"{name}-{version}.jar"
        if not jar.exists():
            done = subprocess.run(
                [
                    *("mvn", "-B", "-q", _GET),
                    f"-Dartifact=org.apache.beam:{name}:{version}",
                    f"-DoutputDirectory={output}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            reason = reason or _last_words(done)
        if jar.exists():
            return {"path": str(jar), "flink_version": flink}
    return {"missing": reason}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/runners"))
    output = parser.parse_args(arguments).output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    version = importlib.metadata.version("apache-beam")
    found = {}
    for name, install in (("prism", install_prism), ("flink", install_flink)):
        print(f"{name} of Beam {version}: looking for it, which may take minutes ...", flush=True)
        found[name] = install(output, version)
        missing = found[name].get("missing")
        print(f"{name}: cannot be had: {missing}" if missing else f"{name}: {found[name]['path']}")
    (output / FOUND_FILE).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
