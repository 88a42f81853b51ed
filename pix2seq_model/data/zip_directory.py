"""The directory of a zip archive of images, read by Python's `zipfile`."""

import struct
import zipfile
from typing import BinaryIO

from pix2seq_model.errors import DataError

# An entry that needs more than Python's own unpacker can do is refused as it is read, by its name;
# `zipfile` would refuse the whole archive for it. The field is one byte.
zipfile.MAX_EXTRACT_VERSION = 255  # type: ignore[misc]
# What a directory of odd bytes makes of it.
_ODD = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError),
    *(ValueError, OverflowError, IndexError, EOFError, struct.error),
)


def open_zip(file: BinaryIO, *, place: str) -> zipfile.ZipFile:
    """Opens an archive.

    Args:
      file: of it.
      place: of it, for the message.

    Raises:
      DataError: it is none, or its directory cannot be read.
      OSError: the file cannot be read, or not now.
    """
    try:
        return zipfile.ZipFile(file)
    except _ODD as error:
        raise DataError(
            f"{place}: not a zip archive that can be read ({error}); unpack it yourself and give "
            "the folder"
        ) from None
