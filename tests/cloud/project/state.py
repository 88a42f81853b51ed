"""One project of Google Cloud as a file: what the stand-ins of a test share, each its own process.

Standard library only: a command that changes it starts in a moment.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Where the stand-ins of commands find the file.
VARIABLE = "STAND_IN_PROJECT"

_EMPTY: dict[str, Any] = {
    "regions": ["europe-west1", "europe-west4", "us-central1"],
    # Names of services, emails of service accounts.
    "services": [],
    "accounts": [],
    # By resource, "project", "folder" (above the project), "bucket/NAME", "account/EMAIL",
    # "repository/REGION/NAME": pairs of a role and a member.
    "bindings": {},
    # Members by group; permissions by role.
    "groups": {},
    "custom_roles": {},
    # Location by name; repositories as "REGION/NAME".
    "buckets": {},
    "repositories": [],
    # By reference: {"labels": ..., "digest": ...}; what docker built here, and what was pushed.
    "built": {},
    "pushed": {},
    # By metric and region; what is not named is unlimited.
    "quotas": {},
    # By region and id: the ids of deployed models.
    "endpoints": {},
    # Address of the object store, for commands that copy.
    "store": "",
}


class Project:
    """The project in a file.

    Attributes:
      file: where it is kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def make(cls, file: Path, *, name: str, owner: str, number: str = "12") -> "Project":
        """An empty project; nobody but its owner, a member like "user:me@example.com", may do
        anything in it."""
        content = {**_EMPTY, "name": name, "number": number}
        content["bindings"] = {"project": [["roles/owner", owner]]}
        file.write_text(json.dumps(content, indent=1))
        return cls(file)

    @classmethod
    def named_by_environment(cls) -> "Project":
        return cls(Path(os.environ[VARIABLE]))

    def read(self) -> dict[str, Any]:
        """Its content; changing it changes nothing else."""
        with self._locked(fcntl.LOCK_SH):
            return json.loads(self.file.read_text())

    @contextlib.contextmanager
    def change(self) -> Iterator[dict[str, Any]]:
        """Its content, which is written when the block ends without an error."""
        with self._locked(fcntl.LOCK_EX):
            content = json.loads(self.file.read_text())
            yield content
            self.file.write_text(json.dumps(content, indent=1))

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, how)
            yield
