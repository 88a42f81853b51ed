"""Whether a name on this machine leads to a file that can be read to its end.

A pipe would be waited for, a device such as /dev/zero never ends, and a name of 300 letters or a
link to itself leads nowhere: of all these there is no file.
"""

import errno
import os
import stat

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
