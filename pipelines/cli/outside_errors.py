"""What is no defect of ours and no wrong setting, in a message: disk, rights, network, packages."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator

from pipelines.pix2seq import EXTRAS

# What to do about an error of the system, by its number.
_REMEDIES = {
    errno.ENOSPC: "free some space there, or name another folder",
    errno.EDQUOT: "free some space there, or name another folder",
    errno.EACCES: "make it readable and writable, or name another place",
    errno.EPERM: "make it readable and writable, or name another place",
    errno.EROFS: "name a folder that can be written",
    errno.ENOENT: "name one that is there",
    errno.ENOTDIR: "name a folder, or remove that file",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EEXIST: "name another place, or remove what is there",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "close other programs, or give a smaller batch",
    errno.EADDRINUSE: "give another port",
    errno.EIO: "the disk or the network folder fails: look at the system's log",
}
# Kinds of Google's and requests' errors, found by name: they are not imported for this.
_NETWORK = (
    *("ConnectionError", "ConnectTimeout", "ReadTimeout", "TransportError", "RetryError"),
    *("ServiceUnavailable", "NameResolutionError", "MaxRetryError", "gaierror"),
)
# TensorFlow's file system says it in errors of its own, with the words of libcurl.
_OF_TENSORFLOW = (
    *("FailedPreconditionError", "UnavailableError", "AbortedError", "DeadlineExceededError"),
    *("InternalError", "UnknownError"),
)
_NO_ANSWER = re.compile(
    r"libcurl|Could not resolve|Couldn't resolve|Failed to connect|Error executing an HTTP request"
)
_LOGIN = ("DefaultCredentialsError", "RefreshError", "Unauthorized", "Unauthenticated")
_REFUSED = ("Forbidden", "PermissionDenied")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full")
OURS = ("components", "configs", "pipelines", "pix2seq_model", "tests")


def outside_error(error: BaseException) -> str | None:
    """A message with what happened, where, and what to do; None: it may be a defect of ours.

    Of the first error of a chain that has one.
    """
    return next(filter(None, map(outside_error_alone, _chain(error))), None)


def outside_error_alone(error: BaseException) -> str | None:
    """The same of this error, whatever it came from."""
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package and package not in OURS:
            return missing_package(package)
    if kind in _LOGIN:
        return (
            f"Google Cloud takes no login from here ({_short(error)}): run `gcloud auth "
            "application-default login`, or give local places"
        )
    if kind in _REFUSED:
        return f"Google Cloud refuses it ({_short(error)}): ask for the role, or name another"
    if kind in _NETWORK or (kind in _OF_TENSORFLOW and _NO_ANSWER.search(str(error))):
        return (
            f"the network cannot be reached ({_short(error)}): connect, or copy what lies at "
            "gs:// here and name the copy"
        )
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        # Of two the second is written to.
        name = (error.errno in _FULL_DISK and error.filename2) or error.filename
        place = f"{os.fspath(name)}: " if name else ""
        remedy = _REMEDIES[error.errno]
        if error.errno in _FULL_DISK and name and _is_temporary(name):
            remedy = "free some space there, or name another temporary folder in TMPDIR"
        return f"{place}{os.strerror(error.errno)}; {remedy}"
    if full := next((line for line in str(error).splitlines() if _FULL.search(line)), ""):
        # TensorFlow and SQLite have errors of their own for it.
        return f"a disk is full ({full.strip():.300}); {_REMEDIES[errno.ENOSPC]}"
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or give a smaller batch"
    return None


def _is_temporary(name: str | bytes | int) -> bool:
    folder = tempfile.tempdir  # None: nobody has asked for it yet.
    if isinstance(name, int) or folder is None:
        return False
    return os.fsdecode(name).startswith(os.path.join(os.fsdecode(folder), tempfile.gettempprefix()))


def missing_package(package: str) -> str:
    """What to do where a package cannot be imported."""
    extra = f"; so does `pip install '.[{EXTRAS[package]}]'`" if package in EXTRAS else ""
    return (
        f"the package {package} is not installed in this Python: `make env` installs all, and "
        "`.venv/bin/python` in front of the command (or `source .venv/bin/activate`) uses it"
        f"{extra}"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: list[BaseException] = []
    while link is not None and not any(link is each for each in seen):  # It may go in a circle.
        seen.append(link)
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]:.200}" if lines else type(error).__name__
