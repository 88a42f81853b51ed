"""Fetches other Beam runners for `make test-runners`: Prism as a Go module, Flink's from Maven.

    python tests/runners/install.py --output=build/runners

Prism has exactly our Beam's version. So has Flink's job server if Maven Central has it in one file;
otherwise it is assembled from its parts, with the version in `flink_job_server/pom.xml`. If one is
not available, the reason is printed, and its test is skipped with that reason.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from apache_beam.options.pipeline_options import FlinkRunnerOptions

_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0"
_MAVEN = ("mvn", "--batch-mode", "--update-snapshots", "-Dstyle.color=never")
_PARTS = Path(__file__).resolve().parent / "flink_job_server" / "pom.xml"
_MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink looks into these packages, which Java closes since version 17.
_OPENED = ("java.base/java.lang", "java.base/java.util", "java.base/java.time")
_MANIFEST_LINE = 70
FOUND_FILE = "found.json"


def _last_words(done: subprocess.CompletedProcess) -> str:
    said = done.stderr + done.stdout
    if why := re.search(r"[Cc]ould(?: not|n't) .*?(?= -> |$)", said, re.MULTILINE):
        return why[0][:300]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit status {done.returncode}"


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def go_install(module: str, *, version: str, output: Path) -> dict[str, str]:
    """Builds a program that is a Go module; returns `path` and `version`, or `missing`."""
    name = module.rpartition("/")[2]
    binary = output / f"{name}-{version}"
    if not binary.exists():
        if shutil.which("go") is None:
            return {"missing": "no go command"}
        done = _run("go", "install", f"{module}@v{version}", GOBIN=str(output))
        if not (output / name).exists():
            return {"missing": _last_words(done)}
        (output / name).rename(binary)
    return {"path": str(binary), "version": version}


def install_prism(output: Path, version: str) -> dict[str, str]:
    """Builds Prism; returns `path` and `version`, or `missing`."""
    return go_install(_PRISM, version=version, output=output)


def _published_job_server(output: Path, version: str) -> tuple[dict[str, str], str]:
    """The job server in one file; returns what was found, or nothing and why."""
    reason = ""
    for flink in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
        name = f"beam-runners-flink-{flink}-job-server"
        jar = output / f"{name}-{version}.jar"
        if not jar.exists():
            done = _run(
                *(*_MAVEN, f"{_DEPENDENCY_PLUGIN}:copy"),
                f"-Dartifact=org.apache.beam:{name}:{version}",
                f"-DoutputDirectory={output}",
            )
            reason = reason or _last_words(done)
        if jar.exists():
            return {"path": str(jar), "version": version, "flink_version": flink}, ""
    return {}, reason


def _write_launcher(jar: Path, parts: list[Path]) -> None:
    """Writes a jar with nothing in it but where its parts are, so that `java -jar` starts them."""
    headers = {
        "Manifest-Version": "1.0",
        "Main-Class": _MAIN_CLASS,
        "Class-Path": " ".join(str(part.relative_to(jar.parent)) for part in parts),
        "Add-Opens": " ".join(_OPENED),
    }
    lines = []
    for name, value in headers.items():
        line = f"{name}: {value}"
        # Lines of a manifest are short; a line that begins with a blank continues the one before.
        while len(line) > _MANIFEST_LINE:
            lines.append(line[:_MANIFEST_LINE])
            line = f" {line[_MANIFEST_LINE:]}"
        lines.append(line)
    temporary = jar.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\n".join(lines) + "\n\n")
    temporary.rename(jar)


def _assembled_job_server(output: Path) -> dict[str, str]:
    """The job server of `flink_job_server/pom.xml`."""
    version, flink = (
        re.search(f"<{name}.version>(.+?)</", _PARTS.read_text())[1] for name in ("beam", "flink")
    )
    jar = output / f"flink-{flink}-job-server-{version}.jar"
    if not jar.exists():
        folder = output / f"flink-{flink}-job-server-{version}"
        done = _run(
            *(*_MAVEN, f"--file={_PARTS}", f"{_DEPENDENCY_PLUGIN}:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={folder}"),
        )
        if done.returncode:
            return {"missing": _last_words(done)}
        _write_launcher(jar, sorted(folder.glob("*.jar")))
    return {"path": str(jar), "version": version, "flink_version": flink}


def install_flink(output: Path, version: str) -> dict[str, str]:
    """Fetches a Flink job server; returns `path`, `version`, `flink_version`, or `missing`."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        return {"missing": "no mvn and java commands"}
    found, reason = _published_job_server(output, version)
    if found:
        return found
    print(f"flink: no job server of Beam {version} in one file ({reason}); looking for its parts")
    return _assembled_job_server(output)


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
        print(
            f"{name}: not available: {missing}"
            if missing
            else f"{name}: {found[name]['path']}, of Beam {found[name]['version']}"
        )
    (output / FOUND_FILE).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
