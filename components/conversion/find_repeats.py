"""Images that occur more than once: one file under two ids, one base name in two splits."""

import collections
from collections.abc import Iterable, Iterator

import apache_beam as beam

from components.conversion.batches import BatchPacker, unpack
from components.conversion.read_annotations import bucket_key

REPEAT, LEAK = "repeat", "leak"


def _find(element: tuple[str, Iterable[bytes]], seed: int) -> Iterator[tuple[str, bytes]]:
    """All names that share a hash to batches of findings under the bucket keys of their images.

    Rows of kind `repeat`: image id, the id of the first image with the same file.
    Rows of kind `leak`: image id, another split that has the same base name.
    """
    repeats, leaks = BatchPacker(REPEAT), BatchPacker(LEAK)
    by_name: dict[str, list] = collections.defaultdict(list)
    for batch in element[1]:
        for split, image_id, ordinal, file_name in unpack(batch)[1]:
            by_name[file_name.rpartition("/")[2]].append((split, ordinal, image_id, file_name))
    for _, images in sorted(by_name.items()):
        if len(images) == 1:
            continue
        splits = sorted({split for split, *_ in images})
        first: dict[tuple[str, str], str] = {}
        for split, _, image_id, file_name in sorted(images):
            key = bucket_key(image_id, split=split, seed=seed)
            kept = first.setdefault((split, file_name), image_id)
            # The same id twice is found where the rows of an id meet.
            if kept != image_id:
                yield from repeats.add(key, (image_id, kept))
            if others := ", ".join(other for other in splits if other != split):
                yield from leaks.add(key, (image_id, others))
    yield from repeats.flush()
    yield from leaks.flush()


@beam.ptransform_fn
def FindRepeats(names: beam.PCollection, seed: int) -> beam.PCollection:  # noqa: N802
    """(name key, batch of names) to (bucket key, batch of `repeat` or `leak` rows)."""
    return names | "Same names" >> beam.GroupByKey() | "Find" >> beam.FlatMap(_find, seed)
