"""The services and roles that a run needs.

`access.json` is the one list of them: the check before a submission reads it, `deploy/terraform`
reads it, and docs/cloud.md is compared with it.
"""

import dataclasses
import functools
import json
from pathlib import Path

_FILE = Path(__file__).with_name("access.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """A role that somebody needs.

    Attributes:
      who: "you", who submit, or "account", the jobs' service account.
      on: "project", "bucket" or "account".
      role: its name.
      reason: what for.
      permissions: what the check asks for; the role grants them, and others may.
      as_good: roles that grant as much.
      dataflow: only if the conversion runs on Dataflow.
    """

    who: str
    on: str
    role: str
    reason: str
    permissions: tuple[str, ...] = ()
    as_good: tuple[str, ...] = ()
    dataflow: bool = False


@functools.cache
def _content() -> dict:
    return json.loads(_FILE.read_text())


def services(*, dataflow: bool) -> tuple[str, ...]:
    """Returns the names of the services that must be enabled."""
    content = _content()
    return (*content["services"], *(content["dataflow_services"] if dataflow else ()))


def roles(*, who: str, on: str, dataflow: bool) -> tuple[Role, ...]:
    """Returns the roles that somebody needs on something; see `Role`."""
    rows = (
        Role(
            who=row["who"],
            on=row["on"],
            role=row["role"],
            reason=row["for"],
            permissions=tuple(row.get("permissions", ())),
            as_good=tuple(row.get("as_good", ())),
            dataflow=row.get("dataflow", False),
        )
        for row in _content()["roles"]
    )
    return tuple(
        row for row in rows if (row.who, row.on) == (who, on) and (dataflow or not row.dataflow)
    )
