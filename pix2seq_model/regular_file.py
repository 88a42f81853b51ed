"""Whether a name on this machine leads to a file that can be read to its end.

A pipe would be waited for, a device such as /dev/zero never ends, and a name of 300 letters or a
link to itself leads nowhere: of all these there is no file.
"""

import errno
import os
import stat

_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a named pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
)
_NO_SUCH_NAME = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR)


def regular_status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Returns what the system says of a regular file; None if there is none by this name.

    Raises:
      OSError: the system cannot tell, as of a folder that may not be entered.
    """
    try:
        status = os.stat(path)
    except ValueError:  # A NUL in the name.
        return None
    except OSError as error:
        if error.errno in _NO_SUCH_NAME:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def irregular_kind(path: str | os.PathLike[str]) -> str:
    """What stands by a name in place of a file, for a message: "is a named pipe, not a file".

    It is asked before a file is opened: to open a pipe is to wait for whoever writes it.

    Args:
      path: of any store; of what is not on this machine nothing is known.

    Returns:
      "" for a file and for nothing at all, which opening it tells.

    Raises:
      OSError: the system cannot tell.
    """
    if "://" in os.fspath(path) or regular_status(path) is not None:
        return ""
    try:
        mode = os.stat(path).st_mode
    except (ValueError, OSError):
        return ""
    return next((said for is_kind, said in _KINDS if is_kind(mode)), "is a device, not a file")
