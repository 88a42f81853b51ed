"""What stands in a file that should be something else, in words that say what to do."""

_TEXTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<!doctype html": "is an HTML page: the download failed or needs a login; download it again",
    b"<html": "is an HTML page: the download failed or needs a login; download it again",
    b"<?xml": "is XML, perhaps the error message of a storage: look into it",
    b"{": "is JSON text: look into it",
    b"pk\x03\x04": "is a zip archive: unpack it",
    b"\x1f\x8b": "is packed by gzip: unpack it, or name it .gz",
    b"\xff\xfe": "is text in UTF-16: save it as UTF-8",
}
_BYTES_LOOKED_AT = 64


def describe_content(data: bytes) -> str:
    """Returns words that follow a file's name, for a message.

    Args:
      data: the file, or its beginning.
    """
    if not data:
        return "is empty"
    start = data[:_BYTES_LOOKED_AT].lstrip().lower()
    for beginning, words in _TEXTS.items():
        if start.startswith(beginning):
            return words
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1")
        return f"is of brand {brand!r} (HEIC or a video): save it as JPEG or PNG"
    if not data.strip(b"\0"):
        return "holds zero bytes only: a copy or download that did not finish; get it again"
    return f"begins with {data[:20]!r}"
