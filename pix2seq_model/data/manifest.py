"""The manifest of an examples folder, `dataset_info.json`: written last; all readers use it.

    <dir>/Split-train/examples-00000-of-00008.tfrecord
    <dir>/dead_letter/train-00000-of-00008.jsonl    rows dropped or changed; not for every shard
    <dir>/statistics.json                           histograms of the boxes, by split
    <dir>/dataset_info.json

A shard that the manifest does not name is not part of the data set.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterable
from typing import Any

from etils import epath

from pix2seq_model.data.categories import names_by_id
from pix2seq_model.data.records import SCHEMA_VERSION
from pix2seq_model.errors import DataError, shown
from pix2seq_model.json_file import read_json

FILE_NAME = "dataset_info.json"
STATISTICS_FILE = "statistics.json"
# Of 64 bits in a record.
_MAX_LABEL = (1 << 63) - 1


def shard_file(split: str, shard: int, num_shards: int) -> str:
    """Returns a shard's path inside the examples folder."""
    return f"Split-{split}/examples-{shard:05d}-of-{num_shards:05d}.tfrecord"


def dead_letter_file(split: str, shard: int, num_shards: int) -> str:
    """Returns the path of the rows that were dropped or changed on the way to a shard."""
    return f"dead_letter/{split}-{shard:05d}-of-{num_shards:05d}.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard.

    Attributes:
      file: its path inside the examples folder.
      num_examples: in it.
      num_bytes: of the file.
      sha256: of the file, hexadecimal.
      crc32c: of the file, in base64; "" of records that an earlier version wrote.
    """

    file: str
    num_examples: int
    num_bytes: int
    sha256: str
    crc32c: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """One split.

    Attributes:
      num_examples: images written.
      num_objects: boxes written, crowd boxes included.
      num_bytes: size of the shards.
      shards: in order.
      counts: `{"images": {...}, "annotations": {...}}`, each with `rows_in`, `written`,
        `dropped` (rule to count; rows_in = written + the sum of these) and `changed` (rule to
        count of rows that were kept but changed or marked).
    """

    num_examples: int
    num_objects: int
    num_bytes: int
    shards: tuple[ShardInfo, ...]
    counts: dict[str, Any]

    def applied_rules(self) -> list[tuple[str, str, str, int]]:
        """What was set aside or fixed: (images or annotations, dropped or changed, rule, count)."""
        return [
            (kind, action, rule, count)
            for kind in ("images", "annotations")
            for action in ("dropped", "changed")
            for rule, count in sorted(self.counts.get(kind, {}).get(action, {}).items())
            if count
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set in records.

    Attributes:
      name: of the data set, for people.
      seed: that ordered images and objects.
      categories: `{"id": int, "name": str}` by id; `"source_id"` too where the annotation
        file's own id is another (ids that are text or start at 0 are numbered from 1).
      splits: by name.
      schema_version: of the records.
    """

    name: str
    seed: int
    categories: tuple[dict[str, Any], ...]
    splits: dict[str, SplitInfo]
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        content = dataclasses.asdict(self)
        for split in content["splits"].values():
            for shard in split["shards"]:
                # An earlier version's manifest stays what it was, and its fingerprint too.
                if not shard["crc32c"]:
                    del shard["crc32c"]
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)

    def fingerprint(self) -> str:
        """SHA-256 of the manifest: equal for equal data, since it holds the shards' digests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def category_names(self) -> dict[int, str]:
        return names_by_id(self.categories)

    def split(self, name: str) -> SplitInfo:
        """Returns a split.

        Raises:
          DataError: no such split.
        """
        if name not in self.splits:
            raise DataError(
                f"data set {self.name!r} has no split {name!r}; it has {sorted(self.splits)}"
            )
        return self.splits[name]

    def shard_paths(self, directory: str | os.PathLike[str], split: str) -> list[str]:
        """Returns the paths of a split's shards, in order.

        Raises:
          DataError: no such split.
        """
        root = epath.Path(directory)
        return [os.fspath(root / shard.file) for shard in self.split(split).shards]


def read_dataset_info(directory: str | os.PathLike[str]) -> DatasetInfo:
    """Reads an examples folder's manifest.

    Raises:
      DataError: there is none, or it is not one that this version reads.
    """
    path = epath.Path(directory) / FILE_NAME
    fix = "write the records with `python pipelines/convert_dataset.py`"
    try:
        content = read_json(path, fix=fix, kind=dict)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist: the folder holds no finished data set; {fix}"
        ) from None
    try:
        version = content["schema_version"]
        if type(version) is not int or version != SCHEMA_VERSION:  # true is 1 as well.
            raise DataError(
                f"{path}: schema_version is {version}, this code reads {SCHEMA_VERSION}; {fix}"
            )
        splits = {}
        for name, split in content["splits"].items():
            shards = tuple(ShardInfo(**shard) for shard in split["shards"])
            splits[name] = SplitInfo(**{**split, "shards": shards})
        info = DatasetInfo(
            name=content["name"],
            seed=content["seed"],
            categories=tuple(content["categories"]),
            splits=splits,
        )
        if problem := _problem(info):
            raise DataError(f"{path} was changed or damaged: {problem}; {fix}")
        return info
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a data set's manifest ({error!r}); {fix}") from None


def _problem(info: Any) -> str:
    """What no conversion writes into a manifest; "" if all is well."""
    if not isinstance(info.name, str) or type(info.seed) is not int:
        return f"its name {shown(info.name)} or seed {shown(info.seed)} is of a wrong type"
    if problem := _problem_of_categories(info.categories):
        return problem
    if wrong := [name for name in info.splits if not name.isidentifier()]:
        return f"splits: {shown(wrong[0])} is no plain word such as 'train'"
    files = [shard.file for split in info.splits.values() for shard in split.shards]
    for file in files:
        if not isinstance(file, str) or "\0" in file:
            return f"{shown(file)} is no name of a shard"
        if file.startswith("/") or "://" in file or ".." in re.split(r"[/\\]", file):
            return f"the shard {shown(file)} does not lie in its folder"
        # One file by two names would be read twice.
        if not file or "\\" in file or file != posixpath.normpath(file) or file == ".":
            return f"{shown(file)} is no plain name of a shard"
    if twice := [file for file, count in collections.Counter(files).items() if count > 1]:
        return f"it names the shard {twice[0]} twice"
    problems = (_problem_of_split(name, split) for name, split in info.splits.items())
    return next(filter(None, problems), "")


def _problem_of_categories(categories: tuple[Any, ...]) -> str:
    if not categories:
        return "categories: there are none"
    ids = [category["id"] for category in categories]
    if any(not _is_count(id_) for id_ in ids) or len(set(ids)) < len(ids):
        return "the ids of its categories are not different whole numbers"
    if not 1 <= min(ids) <= max(ids) <= _MAX_LABEL:
        return f"an id of its categories is not from 1 to {_MAX_LABEL}, as labels are"
    for category in categories:
        # Two may have one name: annotation files with such are taken as they are.
        if not isinstance(category["name"], str):
            return "the name of a category is not text"
        if not isinstance(category.get("source_id", ""), str):
            return f"source_id of the category {category['id']} is not text"
    return ""


def _problem_of_split(name: str, split: Any) -> str:
    for shard in split.shards:
        if not all(map(_is_count, (shard.num_examples, shard.num_bytes))):
            return f"the numbers of {shard.file} are no counts"
        if not (isinstance(shard.sha256, str) and isinstance(shard.crc32c, str)):
            return f"a checksum of {shard.file} is not text"
        if not shard.sha256:
            return f"sha256 of {shard.file} is empty"
    for field in ("num_examples", "num_bytes"):
        said, total = getattr(split, field), sum(getattr(shard, field) for shard in split.shards)
        if said != total or not _is_count(said):
            return f"{field} of split {name!r} is {shown(said)}, its shards hold {total}"
    if not (_is_count(split.num_objects) and isinstance(split.counts, dict)):
        return f"num_objects or counts of split {name!r} are none"
    for kind in split.counts.keys() & {"images", "annotations"}:
        if problem := _problem_of_counts(split.counts[kind]):
            return f"counts.{kind} of split {name!r}: {problem}"
    return ""


def _problem_of_counts(rows: Any) -> str:
    """Of one kind of row; what another program has not counted is left out."""
    if not isinstance(rows, dict):
        return f"{shown(rows)} is no object"
    for field in rows.keys() & {"rows_in", "written"}:
        if not _is_count(rows[field]):
            return f"{field} is {shown(rows[field])}, no count"
    for field in rows.keys() & {"dropped", "changed"}:
        rules = rows[field]
        if not (isinstance(rules, dict) and all(map(_is_count, rules.values()))):
            return f"{field} is {shown(rules)}, not a count for each rule"
        if rules and "rows_in" not in rows:
            return f"{field} has rules, and there is no rows_in"
    if rows.keys() >= {"rows_in", "written", "dropped"}:
        total = rows["written"] + sum(rows["dropped"].values())
        if rows["rows_in"] != total:
            return f"rows_in is {rows['rows_in']}, written and dropped are {total}"
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_statistics(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the histograms of the boxes; see `BoxStatistics`.

    Raises:
      DataError: there are none, or they are damaged.
    """
    path = epath.Path(directory) / STATISTICS_FILE
    try:
        return read_json(path, fix="convert the data set again", kind=dict)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from None


def check_shards(
    directory: str | os.PathLike[str], info: DatasetInfo, *, splits: Iterable[str] | None = None
) -> None:
    """Checks that every shard is there with the size that the manifest says.

    Args:
      directory: examples folder.
      info: its manifest.
      splits: names of the splits to check, by default all.

    Raises:
      DataError: a shard is missing or of another size, or there is no such split.
    """
    root = epath.Path(directory)

    def check(shard: ShardInfo) -> None:
        path = root / shard.file
        size = path.stat().length if path.exists() else None
        if size != shard.num_bytes:
            found = "is missing" if size is None else f"has {size} bytes"
            raise DataError(
                f"{path} {found}, {FILE_NAME} says {shard.num_bytes} bytes; "
                "convert the data set again"
            )

    names = list(info.splits if splits is None else splits)
    shards = [shard for name in names for shard in info.split(name).shards]
    # Thousands of requests to a bucket, each a round trip: sent in parallel.
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(check, shards))
