"""A file system for Beam that behaves like an object store: no folders, only names of objects.

What works on it and on local paths does not depend on folders being there, as on `gs://`.
"""

import os
import tempfile
from pathlib import Path

from apache_beam.io.filesystem import (
    BeamIOError,
    CompressedFile,
    CompressionTypes,
    FileMetadata,
    FileSystem,
)
from google.api_core.exceptions import NotFound

SCHEME = "objects"
_ROOT = Path(tempfile.gettempdir()) / f"objects-{os.getpid()}"


class ObjectStore(FileSystem):
    """Objects `objects://bucket/name`, kept as files whose names have their slashes replaced."""

    @classmethod
    def scheme(cls):
        return SCHEME

    def _file(self, path) -> Path:
        if not path.startswith(f"{SCHEME}://"):
            raise ValueError(f"not a path of this store: {path}")
        return _ROOT / path.removeprefix(f"{SCHEME}://").replace("/", "\\")

    def _need(self, path) -> Path:
        if not self._file(path).exists():
            raise BeamIOError("no such object", {path: "404"})
        return self._file(path)

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self):
        return False

    def mkdirs(self, path):
        del path

    def _list(self, dir_or_prefix):
        prefix = dir_or_prefix.removeprefix(f"{SCHEME}://")
        for file in sorted(_ROOT.glob("*")):
            name = file.name.replace("\\", "/")
            if name.startswith(prefix):
                yield self.metadata(f"{SCHEME}://{name}")

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        _ROOT.mkdir(exist_ok=True)
        return self._file(path).open("wb")

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        if not self._file(path).exists():
            raise NotFound(path)  # As on `gs://`: no error of Beam's.
        file = self._file(path).open("rb")
        kind = FileSystem._get_compression_type(path, compression_type)
        if kind == CompressionTypes.UNCOMPRESSED:
            return file
        return CompressedFile(file, compression_type=kind)

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names):
            self._file(target).write_bytes(self._need(source).read_bytes())

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path):
        return self._file(path).exists()

    def size(self, path):
        return self._need(path).stat().st_size

    def last_updated(self, path):
        return self._need(path).stat().st_mtime

    def checksum(self, path):
        return str(self.size(path))

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            self._need(path).unlink()
