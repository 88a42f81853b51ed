"""One annotation file in COCO's format dealt out to splits; several joined; classes renamed.

Rows are handed on as they are: whether they are right is for the conversion to say. The content of
the files is whole in memory, so this is for data sets of one's own, not for Objects365.
"""

import difflib
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pix2seq_model.data.categories import id_text
from pix2seq_model.errors import DataError

OTHERS = "*"
FOLDER = "folder"
_LISTS = ("images", "annotations", "categories")


def check_lists(content: Any, source: str) -> dict[str, Any]:
    """Returns the content of an annotation file; raises DataError if it is none."""
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) and all(isinstance(row, dict) for row in content[name])
        for name in _LISTS
    ):
        raise DataError(
            f"{source}: needs the lists of objects {', '.join(_LISTS)}, as COCO's files"
        )
    if not content["images"]:
        raise DataError(f"{source}: the list 'images' is empty: there is nothing to split")
    return content


def join_sets(sets: Sequence[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """Joins data sets: images and annotations are numbered again, classes joined by their names.

    Args:
      sets: (source, for messages; folder to put in front of file names, or ""; content) of each.

    Returns:
      The content of one annotation file; of a single set, that set's own.

    Raises:
      DataError: two sets have an image of the same name.
    """
    if len(sets) == 1 and not sets[0][1]:
        return sets[0][2]
    joined: dict[str, Any] = {**sets[0][2], **{name: [] for name in _LISTS}}
    category_of_name: dict[Any, dict[str, Any]] = {}
    source_of_file: dict[Any, str] = {}
    for source, folder, content in sets:
        categories = {}
        for row in content["categories"]:
            new = {**row, "id": len(category_of_name) + 1}
            kept = category_of_name.setdefault(row.get("name"), new)
            categories[id_text(row.get("id"))] = kept["id"]
        images: dict[str, int] = {}
        for row in content["images"]:
            file_name = row.get("file_name")
            if folder and isinstance(file_name, str):
                file_name = f"{folder}/{file_name}"
            if source_of_file.setdefault(file_name, source) != source:
                raise DataError(
                    f"{source} and {source_of_file[file_name]} both have an image {file_name!r}: "
                    "give the folder of each set's images with --images, in the order of the files"
                )
            number = images.setdefault(id_text(row.get("id")), len(joined["images"]) + 1)
            joined["images"].append({**row, "id": number, "file_name": file_name})
        for row in content["annotations"]:
            joined["annotations"].append(
                {
                    **row,
                    "id": len(joined["annotations"]) + 1,
                    # What belongs to nothing stays as it is, for the conversion to count.
                    "image_id": images.get(id_text(row.get("image_id")), row.get("image_id")),
                    "category_id": categories.get(
                        id_text(row.get("category_id")), row.get("category_id")
                    ),
                }
            )
    return {**joined, "categories": list(category_of_name.values())}


def map_classes(content: dict[str, Any], mapping: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Renames classes, joins those that get the same name, and leaves classes out.

    Args:
      content: of an annotation file.
      mapping: old name to new name, or to None to leave the class and its boxes out; "*": None
        leaves out every class that is not named.
      source: of the mapping, for messages.

    Raises:
      DataError: the mapping names a class that is not there, or is no mapping, or leaves nothing.
    """
    if not isinstance(mapping, Mapping) or not all(
        new is None or isinstance(new, str) for new in mapping.values()
    ):
        raise DataError(f'{source}: write {{"old name": "new name", "left out": null}}')
    if mapping.get(OTHERS) is not None:
        raise DataError(
            f'{source}: "{OTHERS}" can only be null, which leaves out what is not named'
        )
    names = [str(row.get("name")) for row in content["categories"]]
    for name in mapping.keys() - {OTHERS}:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise DataError(f"{source}: no class {name!r} in the annotations; {hint}")
    first: dict[str, dict[str, Any]] = {}
    new_id: dict[str, Any] = {}
    left_out = set()
    for row, name in zip(content["categories"], names, strict=True):
        new = mapping.get(name, None if OTHERS in mapping else name)
        if new is None:
            left_out.add(id_text(row.get("id")))
            continue
        kept = first.setdefault(new, {**row, "name": new})
        new_id[id_text(row.get("id"))] = kept["id"]
    if not first:
        raise DataError(f"{source}: leaves no class; name one to keep, as {names[0]!r}")
    annotations = []
    for row in content["annotations"]:
        key = id_text(row.get("category_id"))
        if key not in left_out:
            annotations.append({**row, "category_id": new_id.get(key, row.get("category_id"))})
    return {**content, "categories": list(first.values()), "annotations": annotations}


def split_images(
    content: dict[str, Any],
    fractions: Mapping[str, float],
    *,
    seed: int,
    group_by: str = "",
    source: str,
) -> dict[str, dict[str, Any]]:
    """Deals images out so that each class has its share of boxes in each split.

    Groups are dealt out whole: by default the images of one file name or one id. It is iterative
    stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data",
    2011) of groups: the rarest class first, each group to the split that lacks most of it.

    Args:
      content: of an annotation file.
      fractions: of the images by split; they add up to 1. The first takes what belongs to no image.
      seed: orders the groups.
      group_by: "folder": images of one folder stay together; else a field of the rows of `images`,
        as video_id, whose equal values stay together.
      source: for messages.

    Returns:
      The content of an annotation file by split, rows in the order of the source.

    Raises:
      DataError: a row lacks the field; or there are too few groups for a split.
    """
    groups = _groups(content, group_by, source)
    num_groups = len(set(groups))
    if num_groups < len(fractions):
        what = f"--group_by={group_by} makes" if group_by else "the images make"
        raise DataError(
            f"{source}: {what} {num_groups} groups, too few for the splits {', '.join(fractions)}"
        )
    ids = [id_text(row.get("id")) for row in content["images"]]
    group_of_image = dict(zip(ids, groups))
    boxes: dict[str, Counter[str]] = {group: Counter() for group in groups}
    for row in content["annotations"]:
        group = group_of_image.get(id_text(row.get("image_id")))
        if group is not None:
            boxes[group][id_text(row.get("category_id"))] += 1
    split_of_group = _deal(boxes, Counter(groups), fractions, seed)
    split_of_image = {number: split_of_group[group] for number, group in group_of_image.items()}
    first = next(iter(fractions))
    splits: dict[str, dict[str, Any]] = {
        split: {**content, "images": [], "annotations": []} for split in fractions
    }
    for row, number in zip(content["images"], ids, strict=True):
        splits[split_of_image[number]]["images"].append(row)
    for row in content["annotations"]:
        split = split_of_image.get(id_text(row.get("image_id")), first)
        splits[split]["annotations"].append(row)
    return splits


def boxes_by_class(content: dict[str, Any]) -> dict[str, int]:
    """The number of boxes of each class, by its name, those without any among them."""
    counts = Counter(id_text(row.get("category_id")) for row in content["annotations"])
    return {str(row.get("name")): counts[id_text(row.get("id"))] for row in content["categories"]}


def _groups(content: dict[str, Any], group_by: str, source: str) -> list[str]:
    """The group of each image; images of one id are in one group whatever they say."""
    group_of_id: dict[str, str] = {}
    groups = []
    for position, row in enumerate(content["images"]):
        name = str(row.get("file_name", ""))
        if group_by == FOLDER:
            group = name.replace("\\", "/").rpartition("/")[0]
        elif not group_by:
            group = name
        elif row.get(group_by) is None:
            raise DataError(
                f"{source}: images[{position}] ({name}) has no {group_by!r} to group by; it has "
                f"{', '.join(sorted(row))[:500]}, and --group_by={FOLDER} takes the folder of "
                "file_name"
            )
        else:
            group = repr(row[group_by])
        groups.append(group_of_id.setdefault(id_text(row.get("id")), group))
    return groups


def _deal(
    boxes: Mapping[str, Counter[str]],
    sizes: Mapping[str, int],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """The split of each group.

    Args:
      boxes: by group, the number of boxes by class.
      sizes: by group, its images.
      fractions: by split.
      seed: of the order.
    """
    totals: Counter[str] = Counter()
    members: dict[str, list[str]] = defaultdict(list)
    order = sorted(boxes)
    random.Random(seed).shuffle(order)
    for group in order:
        totals.update(boxes[group])
        for name in boxes[group]:
            members[name].append(group)
    lacking = {
        split: Counter({name: part * count for name, count in totals.items()})
        for split, part in fractions.items()
    }
    images = {split: part * sum(sizes.values()) for split, part in fractions.items()}
    dealt: dict[str, str] = {}

    def give(group: str, name: str) -> None:
        split = max(fractions, key=lambda split: (lacking[split][name], images[split]))
        dealt[group] = split
        images[split] -= sizes[group]
        lacking[split].subtract(boxes[group])

    # Large groups first: small ones even out what these leave.
    for name in sorted(totals, key=lambda name: (totals[name], name)):
        for group in sorted(members[name], key=lambda group: -boxes[group][name]):
            if group not in dealt:
                give(group, name)
    for group in sorted(order, key=lambda group: -sizes[group]):
        if group not in dealt:
            give(group, "")  # Without boxes: by the number of images alone.
    for split in fractions:
        groups_of = Counter(dealt.values())
        if split not in groups_of:
            # Of a split that has several, the smallest.
            spare = [group for group in order if groups_of[dealt[group]] > 1]
            dealt[min(spare, key=lambda group: sizes[group])] = split
    return dealt
