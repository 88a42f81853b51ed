"""Carries out the Dockerfile's steps without Docker, in a bare Debian.

    python tests/cloud/image/build.py --output=build/image [--build-arg NAME=VALUE]

Reads the Dockerfile itself. Each stage is a folder that holds its whole file system, named by a
digest of all that went into it: a stage that did not change is not made again. Needs root,
debootstrap and a Go compiler.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cloud.image.bases import NotHere, make_base
from tests.cloud.image.container import DEFAULT_PATH, command_in, may_isolate
from tests.cloud.image.dockerfile import Instruction, assignments, fill_in, ignored, instructions

PROJECT = Path(__file__).resolve().parents[3]


@dataclasses.dataclass(kw_only=True)
class Image:
    """A finished stage.

    Attributes:
      root: its file system.
      digest: of all that went into it.
      env, labels, workdir, user, entrypoint, cmd: as an image's configuration has them.
    """

    root: Path
    digest: str
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    workdir: str = "/"
    user: str = "root"
    entrypoint: list[str] = dataclasses.field(default_factory=list)
    cmd: list[str] = dataclasses.field(default_factory=list)

    def run(
        self,
        *command: str,
        changes: Path,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        shared: Mapping[Path, str] | None = None,
    ) -> subprocess.CompletedProcess:
        """`docker run --rm IMAGE command`; output is captured, failure is not raised."""
        return subprocess.run(
            self.command(
                *command, changes=changes, user=user, workdir=workdir, env=env, shared=shared
            ),
            check=False,
            capture_output=True,
            text=True,
        )

    def command(
        self,
        *command: str,
        changes: Path,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        shared: Mapping[Path, str] | None = None,
        with_cmd: bool = True,
    ) -> list[str]:
        """What starts it on this machine; arguments may be added at its end.

        `with_cmd=False` leaves them to the caller, as Docker does with a given command.
        """
        return command_in(
            self.root,
            [*self.entrypoint, *(command or (self.cmd if with_cmd else ()))],
            env={**self.env, **(env or {})},
            workdir=workdir or self.workdir,
            user=user or self.user,
            changes=changes,
            shared=shared,
        )


def build(
    text: str, output: Path, *, context: Path = PROJECT, build_args: Mapping[str, str] | None = None
) -> Image:
    """Makes the last stage of a Dockerfile, and those it copies from.

    Args:
      text: the Dockerfile.
      output: where the stages are kept.
      context: the folder that COPY reads, with `.dockerignore`.
      build_args: values of ARG.

    Raises:
      NotHere: something that this needs is missing here.
      ValueError: an instruction that cannot be carried out.
      subprocess.CalledProcessError: a RUN failed.
    """
    if not may_isolate():
        raise NotHere("this needs root and the right to make namespaces (unshare)")
    output.mkdir(parents=True, exist_ok=True)
    builder = _Builder(context.resolve(), output.resolve(), dict(build_args or {}))
    stages: list[tuple[str, list[Instruction]]] = []
    for step in instructions(text):
        if step.keyword == "FROM":
            base, _, name = fill_in(step.value, builder.outer).partition(" AS ")
            stages.append((name or str(len(stages)), [dataclasses.replace(step, value=base)]))
        elif not stages:
            builder.outer |= builder.argument(step)
        else:
            stages[-1][1].append(step)
    for name, steps in stages:
        image = builder.stage(name, steps)
    return image


class _Builder:
    def __init__(self, context: Path, output: Path, build_args: dict[str, str]) -> None:
        self._context, self._output, self._build_args = context, output, build_args
        self._images: dict[str, Image] = {}
        ignore = context / ".dockerignore"
        self._ignored = ignore.read_text().split() if ignore.exists() else []
        self.outer: dict[str, str] = {}

    def argument(self, step: Instruction) -> dict[str, str]:
        name, _, default = step.value.partition("=")
        return {name: self._build_args.get(name, default.strip("\"'"))}

    def stage(self, name: str, steps: list[Instruction]) -> Image:
        reference = steps[0].value
        base = self._images.get(reference) or self._base(reference)
        digest = self._digest(base, steps[1:])
        root = self._output / f"stage-{name}-{digest}"
        image = dataclasses.replace(
            base, root=root, digest=digest, env=dict(base.env), labels=dict(base.labels)
        )
        making = None
        if not root.exists():
            print(f"{name}: from {reference}", flush=True)
            making = root.with_suffix(".partial")
            shutil.rmtree(making, ignore_errors=True)
            _copy(base.root, making)
        variables: dict[str, str] = {}
        for step in steps[1:]:
            self._carry_out(step, image, making, variables)
        if making:
            making.rename(root)
        self._images[name] = image
        return image

    def _base(self, reference: str) -> Image:
        digest = hashlib.sha256(reference.encode()).hexdigest()[:16]
        root = self._output / f"base-{digest}"
        if not root.exists():
            print(f"making {reference}", flush=True)
            making = root.with_suffix(".partial")
            shutil.rmtree(making, ignore_errors=True)
            make_base(reference, making)
            making.rename(root)
        return Image(root=root, digest=digest, env={"PATH": DEFAULT_PATH})

    def _digest(self, base: Image, steps: list[Instruction]) -> str:
        whole = hashlib.sha256(base.digest.encode())
        for step in steps:
            whole.update(repr(step).encode())
            if step.keyword == "ARG":
                whole.update(repr(self.argument(step)).encode())
            if step.keyword == "COPY" and step.document is None:
                if "from" in step.flags:
                    whole.update(self._source(step.flags["from"]).digest.encode())
                else:
                    *sources, _ = step.value.split()
                    for path in itertools.chain.from_iterable(map(self._files, sources)):
                        whole.update(f"{path}\n".encode() + (self._context / path).read_bytes())
        return whole.hexdigest()[:16]

    def _source(self, name: str) -> Image:
        return self._images.get(name) or self._base(name)

    def _carry_out(
        self, step: Instruction, image: Image, making: Path | None, variables: dict[str, str]
    ) -> None:
        """Changes the image's configuration and, while the stage is made, its files."""
        value = fill_in(step.value, {**variables, **image.env})
        match step.keyword:
            case "ARG":
                variables |= self.argument(step)
            case "ENV":
                image.env |= assignments(value)
            case "LABEL":
                image.labels |= assignments(value)
            case "WORKDIR":
                image.workdir = value
            case "USER":
                image.user = value
            case "ENTRYPOINT":
                image.entrypoint = json.loads(step.value)
            case "CMD":
                image.cmd = json.loads(step.value)
            case "RUN":
                if making:
                    self._run(step.value, image, making, variables)
            case "COPY":
                if making:
                    self._copy(step, image, making)

    def _run(self, line: str, image: Image, making: Path, variables: Mapping[str, str]) -> None:
        print(f"  RUN {line}", flush=True)
        env = {**variables, **image.env}
        if "SSL_CERT_FILE" in os.environ:  # See `bases`: for the time of the build only.
            env["PIP_CERT"] = "/etc/ssl/certs/ca-certificates.crt"
        command = ["/bin/sh", "-c", line]
        subprocess.run(
            command_in(making, command, env=env, workdir=image.workdir, user=image.user),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _copy(self, step: Instruction, image: Image, making: Path) -> None:
        *sources, target = step.value.split()
        place = making / os.path.join(image.workdir, target).lstrip("/")
        if step.document is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(step.document)
        elif "from" in step.flags:
            (source,) = sources
            _copy(self._source(step.flags["from"]).root / source.lstrip("/"), place)
        else:
            if len(sources) > 1 and not target.endswith("/"):
                raise ValueError(f"COPY {step.value}: the target of several must end with /")
            for source in sources:
                for path in self._files(source):
                    if (self._context / source).is_dir():
                        copy = place / path.relative_to(source)
                    else:
                        copy = place / path.name if target.endswith("/") else place
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self._context / path, copy)
        if "chmod" in step.flags:
            place.chmod(int(step.flags["chmod"], 8))

    def _files(self, source: str) -> list[Path]:
        """The files of the context that a source of a COPY names, relative to it."""
        top = self._context / source
        paths = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        found = [path.relative_to(self._context) for path in paths]
        kept = [path for path in found if not ignored(path, self._ignored)]
        if not kept:
            raise ValueError(f"COPY {source}: there is nothing to copy")
        return kept


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    what = str(source)
    if source.is_dir():
        target.mkdir(exist_ok=True)
        what = f"{source}/."  # The folder's content.
    subprocess.run(["cp", "-a", "--reflink=auto", what, str(target)], check=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/image"))
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    wanted = parser.parse_args(arguments)
    build_args = dict(argument.split("=", 1) for argument in wanted.build_arg)
    try:
        image = build((PROJECT / "Dockerfile").read_text(), wanted.output, build_args=build_args)
    except NotHere as error:
        print(f"the image cannot be made here: {error}", file=sys.stderr)
        return 2
    print(f"{image.root}: {json.dumps(image.labels)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
