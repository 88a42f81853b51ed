"""Where a batch prediction's files are in its output folder.

detections/detections-00000-of-00012.jsonl        a line for each image that could be read
detections/detections-00000-of-00012.tfrecord     the same as records
unreadable/unreadable-00000-of-00012.jsonl        a line for each that could not; absent if none
predictions.json                                  counts, shards and their digests; written last
progress/                                         notes by which a rerun continues

What lines and records hold is in `pix2seq_model.prediction.detection_records`.
"""

import fnmatch
from collections.abc import Iterable

from components.storage.files import (
    PLAN,
    SHARD_NUMBERS,
    SUMMARY,
    TEMPORARY_FILES,
    file_exists,
    folder_exists,
    list_store,
    read_file,
    refusing,
)
from pix2seq_model.data.folder_walk import everything_below, is_hidden_path
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json

KIND = "detections"
WORK = "progress/work.jsonl"
MANIFEST = "predictions.json"
# Of the process that writes the folder; one that was killed leaves it.
LOCK_HOLDER = "prediction"
_LOCK = f"{LOCK_HOLDER}.lock"
# All that a run may write but the manifest; a file called otherwise is somebody else's.
OUR_FILES = (
    f"detections/detections-{SHARD_NUMBERS}.jsonl",
    f"detections/detections-{SHARD_NUMBERS}.tfrecord",
    f"unreadable/unreadable-{SHARD_NUMBERS}.jsonl",
    f"progress/detections-{SHARD_NUMBERS}.json",
    WORK,
    PLAN,
    SUMMARY,
    *TEMPORARY_FILES,
)
_IN_MANIFEST = {"model_sha256", "files", "settings"}
_SHOWN = 3


def shard_file(kind: str, shard: int, num_shards: int, *, suffix: str = ".jsonl") -> str:
    """Returns the path of a shard's lines, or records, of a kind: detections or unreadable."""
    return f"{kind}/{kind}-{shard:05d}-of-{num_shards:05d}{suffix}"


def check_no_others(output: str) -> None:
    """Refuses a folder with files that a batch prediction did not write.

    Hidden files are what systems and tools leave in any folder: they stay, and hold up nobody.
    Whose the folder is, is said by the manifest or by the list of work, which `claim` makes.

    Raises:
      DataError: there are some, or the folder cannot be read.
    """
    with refusing(f"{output} cannot be read; give another output folder"):
        # A worker that was killed may leave one before anything else is there.
        ours: Iterable[str] = (*OUR_FILES, MANIFEST) if _is_ours(output) else TEMPORARY_FILES
        ours = (*ours, _LOCK)
        others = [
            name
            for name in _names_below(output)
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ours)
            and not is_hidden_path(name)
        ]
    if others:
        shown = ", ".join(sorted(others)[:_SHOWN])
        number = f"{len(others):,} file{'s' * (len(others) != 1)}"
        raise DataError(
            f"output folder {output} holds {number} that this command did not write ({shown}): "
            "give another folder, or --overwrite to write among them"
        )


def _is_ours(output: str) -> bool:
    if file_exists(f"{output}/{WORK}"):
        return True
    if (content := read_file(output, MANIFEST)) is None:
        return False
    try:
        return parse_json(content, source=MANIFEST, fix="", kind=dict).keys() >= _IN_MANIFEST
    except DataError:
        return False


def _names_below(output: str) -> Iterable[str]:
    if "://" not in output:
        return everything_below(output)
    start = f"{output}/"
    files = list_store(output) if folder_exists(output) else ()
    return (file.path.removeprefix(start) for file in files)
