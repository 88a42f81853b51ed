"""Runs commands in a file system of its own, as `docker run` does: namespaces, overlay, chroot."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Fresh process and mount namespaces: nothing that is mounted here is left behind.
_ISOLATE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_in(
    root: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    workdir: str = "/",
    user: str = "root",
    changes: Path | None = None,
    shared: Mapping[Path, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess:
    """Runs a command inside `root`, with no environment but `env`.

    Args:
      root: a file system.
      command: program and arguments, as seen inside.
      env: the whole environment.
      workdir: made if absent.
      user: a user's name inside.
      changes: folder that takes what the command writes, and `root` stays as it is; None writes
        into `root`.
      shared: folders of this machine to their places inside.
      check: raise if the command fails.

    Raises:
      subprocess.CalledProcessError: as `subprocess.run` does; output is captured.
    """
    return subprocess.run(
        command_in(
            root, command, env=env, workdir=workdir, user=user, changes=changes, shared=shared
        ),
        check=check,
        capture_output=True,
        text=True,
    )


def command_in(
    root: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    workdir: str = "/",
    user: str = "root",
    changes: Path | None = None,
    shared: Mapping[Path, str] | None = None,
) -> list[str]:
    """The command of this machine that `run_in` runs; arguments may be added at its end."""
    steps = []
    place = root
    if changes is not None:
        layer, work, place = (changes / name for name in ("layer", "work", "merged"))
        for folder in (layer, work, place):
            folder.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={root},upperdir={layer},workdir={work}"
        steps.append(f"mount -t overlay overlay -o {layers} {place}")
    for name in ("dev", "proc", workdir.lstrip("/")):
        steps.append(f"mkdir -p {place / name}")
    steps += [f"mount --rbind /dev {place}/dev", f"mount -t proc proc {place}/proc"]
    # As Docker does, so that names of hosts are found.
    steps.append(f"cp -L /etc/resolv.conf /etc/hosts {place}/etc/")
    for here, inside in (shared or {}).items():
        target = place / inside.lstrip("/")
        steps += [f"mkdir -p {target}", f"mount --bind {here} {target}"]
    home = "/root" if user == "root" else f"/home/{user}"
    environment = {"PATH": DEFAULT_PATH, "HOME": home, **env}
    inner = shlex.join(
        [
            *("chroot", f"--userspec={user}", str(place)),
            *("env", "-i", *(f"{name}={value}" for name, value in environment.items())),
            *("sh", "-c", f'cd {shlex.quote(workdir)} && exec "$@"', "sh", *command),
        ]
    )
    steps.append(f'exec {inner} "$@"')
    return [*_ISOLATE, "sh", "-ec", "\n".join(steps), "sh"]


def may_isolate() -> bool:
    """Whether this user may make namespaces and mount file systems."""
    if os.geteuid():
        return False
    probe = [*_ISOLATE, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0
