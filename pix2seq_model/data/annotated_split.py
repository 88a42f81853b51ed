"""The truth of a split from its annotation file, in place of the records' own.

Apart from `ground_truth`, so that training does not depend on how annotation files are read.
"""

import dataclasses

from pix2seq_model.data.annotation_file import AnnotationFile
from pix2seq_model.data.ground_truth import SplitTruth
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import DataError


def with_annotations(truth: SplitTruth, file: AnnotationFile) -> SplitTruth:
    """The images of a split with the truth of an annotation file in place of the records'.

    Records are without the duplicates, the boxes without area and what of a box lies beyond the
    image; the file has them, and published evaluation takes the file. Its ids are matched with the
    records' as the conversion does: images by their text, categories by id or else by name.

    Args:
      truth: of the records.
      file: the annotation file.

    Raises:
      DataError: it does not list the split's images, or not its categories.
    """
    missing = truth.image_numbers.keys() - file.image_numbers
    more = file.image_numbers.keys() - truth.image_numbers
    manifest = read_dataset_info(truth.examples_dir).categories
    ours = {str(row.get("source_id", row["id"])): row for row in manifest}
    of_name = {row["name"].strip(): row for row in manifest}
    theirs = {key: str(file.category_names[key]).strip() for key in file.category_numbers}
    if all(key in ours and ours[key]["name"].strip() == name for key, name in theirs.items()):
        labels = {key: ours[key]["id"] for key in theirs}
    else:
        labels = {key: of_name[name]["id"] for key, name in theirs.items() if name in of_name}
    problem = ""
    if missing or more:
        shown = ", ".join(sorted(missing or more)[:5])
        problem = (
            f"images are matched by their id, and of the {len(truth.image_numbers)} of split "
            f"{truth.split!r} it lacks {len(missing)}, while it lists {len(more)} others ({shown})"
        )
    elif unknown := theirs.keys() - labels:
        key = min(unknown)
        name = ours[key]["name"] if key in ours else None
        problem = f"category {key} is {theirs[key]!r} there and {name!r} in the records"
    elif len(set(labels.values())) < len(labels):
        problem = "several of its categories have one name"
    if problem:
        raise DataError(
            f"evaluation.ground_truth={file.path}: {problem}. Name the annotation file that the "
            "split was converted from, or leave the setting empty to take the records' truth."
        )
    images = {file.image_numbers[text]: number for text, number in truth.image_numbers.items()}
    categories = {
        file.category_numbers[key]: truth.category_numbers[label] for key, label in labels.items()
    }
    annotations = [
        {
            **row,
            "image_id": images[row["image_id"]],
            "category_id": categories[row["category_id"]],
        }
        for row in file.coco["annotations"]
    ]
    return dataclasses.replace(truth, coco={**truth.coco, "annotations": annotations})
